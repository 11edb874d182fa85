//! Settings in a TOML file.

use std::{
    any::Any,
    collections::HashMap,
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::{
    Config, ConfigError,
    knob::{Knob, unknown},
};

/// The section that is the application's own.
const APP: &str = "app";

/// Settings read from TOML: the knobs of a [`Config`] by section, and under `[app.NAME]` whatever
/// the application keeps there. Names are checked when the file is read, and each section is
/// decoded when it is first asked for.
///
/// ```
/// use mainspring::{ConfigFile, Profile};
///
/// let file = ConfigFile::parse("[session]\nwindow = 100_000\n[cache]\nttl = \"90 s\"\n[app.ui]\ncolour = true\n")?;
/// let config = file.apply(Profile::Laptop)?;
/// assert_eq!((config.window, config.cache_ttl.as_secs()), (100_000, 90));
/// let ui: std::sync::Arc<std::collections::HashMap<String, bool>> = file.app("ui")?;
/// assert!(ui["colour"]);
/// # Ok::<(), mainspring::ConfigError>(())
/// ```
pub struct ConfigFile {
    table: Table,
    decoded: Mutex<HashMap<String, Arc<dyn Any + Send + Sync>>>,
}

impl ConfigFile {
    /// Reads a file of at most 1 MiB.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        use std::io::Read;
        let path = path.as_ref();
        let failed = |source: std::io::Error| file_error(&path.display(), source);
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take((1 << 20) + 1)
            .read_to_string(&mut text)
            .map_err(failed)?;
        if text.len() > 1 << 20 {
            return Err(failed(std::io::ErrorKind::FileTooLarge.into()));
        }
        Self::parse(&text)
    }

    /// Reads TOML, and checks the names of sections and keys.
    ///
    /// # Errors
    /// [`ConfigError::File`] when it is no TOML, [`ConfigError::Unknown`].
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| file_error(&"settings", error))?;
        for (section, keys) in &table {
            check(section, keys)?;
        }
        Ok(Self {
            table,
            decoded: Mutex::default(),
        })
    }

    /// The config with what the file says of it.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn apply(&self, config: impl Into<Config>) -> Result<Config, ConfigError> {
        let mut config = config.into();
        for (section, keys) in self.table.iter().filter(|(section, _)| *section != APP) {
            for (key, value) in keys.as_table().into_iter().flatten() {
                let text = match value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                config.set(&format!("{section}.{key}"), &text)?;
            }
        }
        Ok(config)
    }

    /// A section of the application's own, decoded when it is first asked for as that type.
    ///
    /// # Errors
    /// [`ConfigError::Unknown`] when there is none, [`ConfigError::File`] when it is of another shape.
    pub fn app<T: DeserializeOwned + Send + Sync + 'static>(
        &self,
        section: &str,
    ) -> Result<Arc<T>, ConfigError> {
        let mut decoded = self.decoded.lock().unwrap_or_else(PoisonError::into_inner);
        let known = decoded.get(section).cloned().map(Arc::downcast::<T>);
        if let Some(Ok(known)) = known {
            return Ok(known);
        }
        let sections = self.table.get(APP).and_then(Value::as_table);
        let found = sections.and_then(|sections| sections.get(section));
        let names = || sections.into_iter().flat_map(Table::keys);
        let found = found.ok_or_else(|| unknown(section, names().map(String::as_str)))?;
        let value: T = found.clone().try_into().map_err(|error: toml::de::Error| {
            file_error(&format_args!("[app.{section}]"), error)
        })?;
        let value = Arc::new(value);
        decoded.insert(section.to_owned(), Arc::clone(&value) as _);
        Ok(value)
    }
}

impl fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigFile")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

fn check(section: &str, keys: &Value) -> Result<(), ConfigError> {
    if section == APP {
        return Ok(());
    }
    let names = || Config::knobs().iter().map(|knob: &Knob| knob.name);
    let sections = names().filter_map(|name| name.split('.').next());
    let Some(keys) = keys.as_table() else {
        return Err(unknown(section, sections.chain([APP])));
    };
    if !sections.clone().any(|known| known == section) {
        return Err(unknown(section, sections.chain([APP])));
    }
    for key in keys.keys() {
        let name = format!("{section}.{key}");
        if !names().any(|known| known == name) {
            return Err(unknown(&name, names()));
        }
    }
    Ok(())
}

fn file_error(
    name: &dyn fmt::Display,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> ConfigError {
    ConfigError::File {
        name: name.to_string(),
        source: source.into(),
    }
}
