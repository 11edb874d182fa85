//! The knobs by name: for files, for the environment, and for listing.

use std::{fmt, str::FromStr, time::Duration};

use mainspring_mmap_store::Durability;

use crate::Config;

/// What the names of variables begin with.
const PREFIX: &str = "MAINSPRING_";
/// Variables of the project's own tests and tools, which are no knobs.
const OTHERS: [&str; 1] = ["MAINSPRING_DATA"];

/// One knob of a [`Config`]. What it does and costs is said at the field of that name.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Knob {
    /// Section and key in a file: `cache.ttl`. In the environment `MAINSPRING_CACHE_TTL`.
    pub name: &'static str,
    /// What a value looks like.
    pub unit: &'static str,
    get: fn(&Config) -> String,
    set: fn(&mut Config, &str) -> Result<(), String>,
}

impl Knob {
    /// The variable that sets it.
    #[must_use]
    pub fn variable(&self) -> String {
        PREFIX.to_owned() + &self.name.replace('.', "_").to_uppercase()
    }

    /// Its value, as [`Config::set`] takes it.
    #[must_use]
    pub fn value(&self, config: &Config) -> String {
        (self.get)(config)
    }
}

impl fmt::Debug for Knob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.unit)
    }
}

macro_rules! knobs {
    ($($name:literal $unit:literal $field:ident $read:ident $show:ident,)*) => {
        [$(Knob {
            name: $name,
            unit: $unit,
            get: |config| $show(&config.$field),
            set: |config, text| $read(text).map(|value| config.$field = value),
        },)*]
    };
}

static KNOBS: [Knob; 22] = knobs! {
    "tools.limit" "calls" tools number show,
    "session.window" "tokens" window number show,
    "session.max_output" "tokens" max_output number show,
    "session.active_bytes" "bytes: 10000000, 10 MiB" active_bytes bytes show,
    "session.interactions" "interactions" interactions number show,
    "session.durability" "os, always, or a time: 100 ms" durability durability show_durability,
    "cache.entries" "entries" cache_entries number show,
    "cache.ttl" "time: 300, 5 min" cache_ttl time show_time,
    "cache.disk_entries" "entries" cache_disk_entries number show,
    "cache.disk_bytes" "bytes: 1 GiB" cache_disk_bytes bytes show,
    "cache.disk_ttl" "time: 24 h" cache_disk_ttl time show_time,
    "memory.trim_above" "bytes: 400 MiB" trim_above bytes show,
    "memory.clear_above" "bytes: 800 MiB" clear_above bytes show,
    "events.capacity" "events" events number show,
    "upkeep.compact_above" "percent" compact_above number show,
    "upkeep.sweep_every" "time: 30 min" sweep_every time show_time,
    "snapshots.compress_after" "time: 7 d" compress_after time show_time,
    "snapshots.delete_after" "time: 30 d" delete_after time show_time,
    "runtime.read_only" "true or false" read_only number show,
    "runtime.sessions_dir" "a path" sessions_dir path show_path,
    "runtime.snapshots_dir" "a path" snapshots_dir path show_path,
    "runtime.cache_dir" "a path" cache_dir path show_path,
};

/// Why a setting was refused.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no such knob, section or variable.
    Unknown {
        /// What was asked for.
        name: String,
        /// The nearest name there is.
        nearest: Option<String>,
    },
    /// The value is not what the knob takes.
    Value {
        /// The knob.
        name: String,
        /// The value.
        value: String,
        /// What it should look like.
        wanted: String,
    },
    /// The file cannot be read, is no TOML, or a section of it is not what it was decoded as.
    File {
        /// The file, or the section.
        name: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name, nearest } => {
                write!(f, "there is no setting `{name}`")?;
                match nearest {
                    Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
                    None => f.write_str("; `Config::knobs` lists them"),
                }
            }
            Self::Value {
                name,
                value,
                wanted,
            } => write!(f, "`{name}` cannot be `{value}`; it takes {wanted}"),
            Self::File { name, source } => write!(f, "{name}: {source}"),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(&**source),
            _ => None,
        }
    }
}

impl Config {
    /// Every knob, by section.
    #[must_use]
    pub fn knobs() -> &'static [Knob] {
        &KNOBS
    }

    /// Sets a knob by its name.
    ///
    /// ```
    /// use mainspring::Profile;
    ///
    /// let mut config = Profile::Laptop.config();
    /// config.set("cache.ttl", "90 s")?;
    /// assert_eq!(config.cache_ttl.as_secs(), 90);
    /// let error = config.set("cache.tll", "90 s").unwrap_err();
    /// assert_eq!(error.to_string(), "there is no setting `cache.tll`; did you mean `cache.ttl`?");
    /// # Ok::<(), mainspring::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError::Unknown`], [`ConfigError::Value`]; nothing has changed then.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        let knob = KNOBS.iter().find(|knob| knob.name == name);
        let knob = knob.ok_or_else(|| unknown(name, KNOBS.iter().map(|knob| knob.name)))?;
        (knob.set)(self, value.trim()).map_err(|_| ConfigError::Value {
            name: name.to_owned(),
            value: value.to_owned(),
            wanted: knob.unit.to_owned(),
        })
    }

    /// Takes what variables say that begin with `MAINSPRING_`; give it
    /// [`std::env::vars`]. `MAINSPRING_CACHE_TTL` is the knob `cache.ttl`.
    ///
    /// # Errors
    /// [`ConfigError::Unknown`], [`ConfigError::Value`].
    pub fn with_env(
        mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        for (name, value) in variables {
            if !name.starts_with(PREFIX) || OTHERS.contains(&&*name) {
                continue;
            }
            let names: Vec<_> = KNOBS.iter().map(Knob::variable).collect();
            match names.iter().position(|known| *known == name) {
                Some(at) => self.set(KNOBS[at].name, &value)?,
                None => return Err(unknown(&name, names.iter().map(String::as_str))),
            }
        }
        Ok(self)
    }
}

pub(crate) fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> ConfigError {
    let far = name.len() / 3 + 1;
    let nearest = known
        .map(|known| (distance(name, known), known))
        .filter(|&(distance, _)| distance <= far)
        .min();
    ConfigError::Unknown {
        name: name.to_owned(),
        nearest: nearest.map(|(_, known)| known.to_owned()),
    }
}

/// Letters to add, drop or change to get from one name to the other (Levenshtein 1966), of names cut
/// to 64 letters.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) =
        (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.replace('_', "").parse().map_err(|_| text.to_owned())
}

/// A number, and the unit that follows it.
fn measured(text: &str) -> Result<(u64, &str), String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_');
    let (amount, unit) = text.split_at(digits.unwrap_or(text.len()));
    Ok((number(amount)?, unit.trim()))
}

fn bytes(text: &str) -> Result<u64, String> {
    let (amount, unit) = measured(text)?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(text.to_owned()),
    };
    amount.checked_mul(factor).ok_or_else(|| text.to_owned())
}

fn time(text: &str) -> Result<Duration, String> {
    let (amount, unit) = measured(text)?;
    let millis: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "min" | "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(text.to_owned()),
    };
    let millis = amount.checked_mul(millis).ok_or_else(|| text.to_owned());
    millis.map(Duration::from_millis)
}

fn durability(text: &str) -> Result<Durability, String> {
    match text {
        "os" => Ok(Durability::Os),
        "always" => Ok(Durability::Always),
        _ => time(text).map(Durability::Interval),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as the other readers")]
fn path(text: &str) -> Result<Option<std::path::PathBuf>, String> {
    Ok((!text.is_empty()).then(|| text.into()))
}

fn show(value: &impl fmt::Display) -> String {
    value.to_string()
}

fn show_time(time: &Duration) -> String {
    format!("{} ms", time.as_millis())
}

fn show_durability(durability: &Durability) -> String {
    match durability {
        Durability::Os => "os".to_owned(),
        Durability::Always => "always".to_owned(),
        Durability::Interval(time) => show_time(time),
    }
}

fn show_path(path: &Option<std::path::PathBuf>) -> String {
    path.as_ref()
        .map_or_else(String::new, |path| path.display().to_string())
}
