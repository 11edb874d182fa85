//! Tools by name, with their schemas compiled.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::schema::Schema;
use crate::{BuildError, Tool};

#[derive(Clone)]
pub(crate) struct Registered {
    pub(crate) tool: Arc<dyn Tool>,
    pub(crate) input: Option<Arc<Schema>>,
    pub(crate) output: Option<Arc<Schema>>,
}

/// A set of tools. Cloning shares the tools.
///
/// Schemas are compiled here, once. Without the feature `jsonschema` a built-in subset of JSON Schema is checked
/// (`type`, `enum`, `const`, `properties`, `required`, `additionalProperties`, `items`, lengths and bounds, `allOf`,
/// `anyOf`, `oneOf`, `not`), and a schema that uses any other constraint is refused rather than half checked.
#[derive(Clone, Default)]
pub struct Toolbox {
    tools: HashMap<String, Registered>,
}

impl Toolbox {
    /// No tools.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tool.
    ///
    /// # Errors
    /// [`BuildError::DuplicateTool`], or [`BuildError::Schema`] when a schema is not valid or cannot be checked.
    pub fn add(&mut self, tool: impl Tool) -> Result<&mut Self, BuildError> {
        self.add_shared(Arc::new(tool))
    }

    /// Adds a tool that others hold too.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_shared(&mut self, tool: Arc<dyn Tool>) -> Result<&mut Self, BuildError> {
        let name = tool.name().to_owned();
        if self.tools.contains_key(&name) {
            return Err(BuildError::DuplicateTool { name });
        }
        let compile = |schema: Option<serde_json::Value>| {
            schema
                .map(|schema| Schema::compile(&name, &schema).map(Arc::new))
                .transpose()
        };
        let input = compile(tool.schema())?;
        let output = compile(tool.output_schema())?;
        self.tools.insert(
            name,
            Registered {
                tool,
                input,
                output,
            },
        );
        Ok(self)
    }

    /// Adds a tool, by value.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn with(mut self, tool: impl Tool) -> Result<Self, BuildError> {
        self.add(tool)?;
        Ok(self)
    }

    /// Takes a tool out; calls of it that were submitted still run.
    pub fn remove(&mut self, name: &str) -> Option<Arc<dyn Tool>> {
        self.tools.remove(name).map(|registered| registered.tool)
    }

    /// The tool of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.tools.get(name).map(|registered| &registered.tool)
    }

    /// All names, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.tools.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// How many tools.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tools.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Registered> {
        self.tools.get(name)
    }
}

impl fmt::Debug for Toolbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
