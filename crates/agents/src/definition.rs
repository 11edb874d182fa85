use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::{
    error::Error,
    front_matter::{self, Complaint, Value},
};

/// How capable, and how dear, the model behind an agent should be. What the tiers cost is the
/// business of whoever routes the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ModelTier {
    /// Quick and cheap.
    Fast,
    /// The middle way.
    Balanced,
    /// The best there is.
    Quality,
}

impl ModelTier {
    /// The word for it: `fast`, `balanced` or `quality`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Balanced => "balanced",
            Self::Quality => "quality",
        }
    }
}

impl FromStr for ModelTier {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [Self::Fast, Self::Balanced, Self::Quality]
            .into_iter()
            .find(|tier| tier.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| Error::NotFound {
                kind: "model tier",
                name: text.to_owned(),
            })
    }
}

/// What an agent is: the front matter and the text of one Markdown file.
///
/// ```
/// use mainspring_agents::{AgentDefinition, ModelTier};
///
/// let agent = AgentDefinition::parse("\
/// ---
/// name: reviewer
/// description: Reviews changes: correctness first, style last.
/// tools: Read, Grep
/// tier: quality
/// ---
/// You review code.
/// ")?;
/// assert_eq!(agent.id, "reviewer");
/// assert_eq!(agent.tools.as_deref(), Some(&["Read".to_owned(), "Grep".to_owned()][..]));
/// assert_eq!(agent.tier, Some(ModelTier::Quality));
/// assert_eq!(agent.prompt, "You review code.\n");
/// # Ok::<(), mainspring_agents::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentDefinition {
    /// `name` of the front matter, or the file's name without its extension.
    pub id: String,
    /// What it is for; this is what tasks are matched with.
    pub description: String,
    /// The tools it may use; `None` when the definition does not say.
    pub tools: Option<Vec<String>>,
    /// Words to find it by, besides its description.
    pub tags: Vec<String>,
    /// `model` as written.
    pub model: Option<String>,
    /// `tier`, or `model` when that names a tier.
    pub tier: Option<ModelTier>,
    /// Keys of the front matter that this crate gives no meaning to.
    pub extra: BTreeMap<String, Value>,
    /// The text behind the front matter: the system prompt.
    pub prompt: String,
    /// The file it came from; empty for text that came from no file.
    pub path: PathBuf,
}

impl AgentDefinition {
    /// Reads a definition from text that has a `name`. Linear in its length.
    ///
    /// # Errors
    /// [`Error::Definition`] with the line.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::parse_file(Path::new(""), text)
    }

    /// Reads the definition in `text`, which is the content of the file `path`.
    ///
    /// # Errors
    /// [`Error::Definition`] with the line.
    pub fn parse_file(path: &Path, text: &str) -> Result<Self, Error> {
        Self::read(path, text).map_err(|Complaint { line, what }| Error::Definition {
            path: path.to_owned(),
            line,
            what,
        })
    }

    fn read(path: &Path, text: &str) -> Result<Self, Complaint> {
        let first_line = |what: &str| Complaint {
            line: 1,
            what: what.to_owned(),
        };
        let (front, prompt) = front_matter::split(text)
            .ok_or_else(|| first_line("the front matter must begin and end with a line `---`"))?;
        let mut fields = front_matter::parse(front)?;
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        let id = match text_field(&mut fields, "name", front)? {
            Some(name) if !name.is_empty() => name,
            _ => stem.to_owned(),
        };
        let description = text_field(&mut fields, "description", front)?.unwrap_or_default();
        if id.is_empty() {
            return Err(first_line("`name` is missing"));
        }
        if description.trim().is_empty() {
            return Err(first_line(
                "`description` is missing; tasks are matched with it",
            ));
        }
        let model = text_field(&mut fields, "model", front)?;
        let tier = match text_field(&mut fields, "tier", front)? {
            Some(tier) => Some(
                tier.parse()
                    .map_err(|_| complaint(front, "tier", "is none of fast, balanced, quality"))?,
            ),
            None => model.as_deref().and_then(|model| model.parse().ok()),
        };
        Ok(Self {
            id,
            description,
            tools: list_field(&mut fields, "tools", front)?,
            tags: list_field(&mut fields, "tags", front)?.unwrap_or_default(),
            model,
            tier,
            extra: fields,
            prompt: prompt.to_owned(),
            path: path.to_owned(),
        })
    }

    /// Bytes of memory held, about.
    pub(crate) fn weight(&self) -> usize {
        let lists = self.tools.iter().flatten().chain(&self.tags);
        let texts = [&self.id, &self.description, &self.prompt];
        let path = self.path.as_os_str().len();
        512 + path
            + texts
                .into_iter()
                .chain(&self.model)
                .map(String::len)
                .sum::<usize>()
            + lists.map(|item| front_matter::weight(item)).sum::<usize>()
            + front_matter::map_weight(&self.extra)
    }
}

/// A complaint about a top-level key, with the line that it stands on.
fn complaint(front: &str, key: &str, what: &str) -> Complaint {
    let line = front
        .lines()
        .position(|line| line.starts_with(key))
        .unwrap_or(0)
        + 2;
    Complaint {
        line,
        what: format!("`{key}` {what}"),
    }
}

fn text_field(
    fields: &mut BTreeMap<String, Value>,
    key: &str,
    front: &str,
) -> Result<Option<String>, Complaint> {
    match fields.remove(key) {
        None => Ok(None),
        Some(Value::Text(text)) => Ok(Some(text.trim().to_owned())),
        Some(_) => Err(complaint(front, key, "must be text")),
    }
}

/// A list, or the comma-separated text that many definitions write instead.
fn list_field(
    fields: &mut BTreeMap<String, Value>,
    key: &str,
    front: &str,
) -> Result<Option<Vec<String>>, Complaint> {
    match fields.remove(key) {
        None => Ok(None),
        Some(Value::List(items)) => Ok(Some(items)),
        Some(Value::Text(text)) => Ok(Some(
            text.split(',')
                .map(|item| item.trim().to_owned())
                .filter(|item| !item.is_empty())
                .collect(),
        )),
        Some(Value::Map(_)) => Err(complaint(front, key, "must be a list")),
    }
}
