//! The sha256 values in the catalogue of models, `onnx/models.toml`: read, compared, and rewritten in place, so that
//! comments and everything else stay as they are.

use anyhow::{Context, anyhow};
use toml_edit::{DocumentMut, Item, TableLike, Value};

/// The catalogue as text that can be edited.
#[derive(Debug)]
pub struct Catalogue {
    document: DocumentMut,
}

impl Catalogue {
    /// Parses the text of `models.toml`.
    ///
    /// # Errors
    /// When it is not TOML; says where.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        Ok(Self {
            document: text.parse()?,
        })
    }

    /// The text, as it was but for what was set.
    pub fn to_text(&self) -> String {
        self.document.to_string()
    }

    /// The sha256 of the file called `path`.
    ///
    /// # Errors
    /// When no model has a file of that path.
    pub fn sha256(&mut self, path: &str) -> anyhow::Result<String> {
        let value = self.file(path)?.get("sha256").and_then(Item::as_str);
        value
            .map(str::to_owned)
            .with_context(|| format!("its file {path:?} has no sha256"))
    }

    /// Sets the sha256 of the file called `path`.
    ///
    /// # Errors
    /// When no model has a file of that path.
    pub fn set_sha256(&mut self, path: &str, sha256: &str) -> anyhow::Result<()> {
        let item = self.file(path)?.entry("sha256").or_insert(Item::None);
        let decor = item.as_value().map(|value| value.decor().clone());
        let mut value = Value::from(sha256);
        if let Some(decor) = decor {
            *value.decor_mut() = decor;
        }
        *item = Item::Value(value);
        Ok(())
    }

    fn file(&mut self, path: &str) -> anyhow::Result<&mut dyn TableLike> {
        let models = self.document.get_mut("model").and_then(Item::as_array_of_tables_mut);
        let mut files = models
            .into_iter()
            .flat_map(|models| models.iter_mut())
            .filter_map(|model| model.get_mut("files").and_then(Item::as_table_like_mut))
            .flat_map(|files| files.iter_mut())
            .filter_map(|(_, file)| file.as_table_like_mut());
        files
            .find(|file| file.get("path").and_then(Item::as_str) == Some(path))
            .ok_or_else(|| anyhow!("no [[model]] in it has a file with path = {path:?}"))
    }
}
