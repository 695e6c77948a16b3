//! Why a model can't be used.

use std::path::PathBuf;

/// Most values of an output: 2048 are the longest of any embedder that is known here.
pub(super) const MOST_VALUES: usize = 65_536;

/// Why a model can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The catalogue is not there or not readable.
    #[error("can't read the model catalogue {path}: {source}; in a checkout, `cargo xtask models` makes the models")]
    Unreadable {
        /// Where it was looked for.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The catalogue does not parse.
    #[error("the model catalogue {path} is wrong: {reason}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where and why, in the parser's words.
        reason: String,
    },
    /// Two entries of one kind have one name.
    #[error("there is more than one {kind} named {name:?}, in {first} and in {second}; rename or remove one")]
    Twice {
        /// `detector`, `embedder`, `head`.
        kind: &'static str,
        /// The name of both.
        name: String,
        /// The file of the first.
        first: PathBuf,
        /// The file of the second.
        second: PathBuf,
    },
    /// The catalogue has no such model.
    #[error("the model catalogue {path} has no {kind} named {name}{}", there_are(has))]
    NoSuchModel {
        /// The files.
        path: String,
        /// The names that it has.
        has: Vec<String>,
        /// `detector`, `embedder`, `head`.
        kind: &'static str,
        /// The name that was asked for.
        name: String,
    },
    /// A model's entry lacks something that its kind needs.
    #[error("the model {model} in the catalogue lacks {what}")]
    Incomplete {
        /// The model's name.
        model: String,
        /// The missing key.
        what: &'static str,
    },
    /// An output's length can't be.
    #[error(
        "the output {output:?} of the model {model} has {values} values in the catalogue; 1 to {MOST_VALUES} are possible"
    )]
    Values {
        /// The model's name.
        model: String,
        /// The output's name in the ONNX graph.
        output: String,
        /// Its length in the catalogue.
        values: usize,
    },
    /// A head's entry does not fit its embedder, or itself.
    #[error("the head {head} in {file} can't be used: {problem}")]
    Head {
        /// The head's name.
        head: String,
        /// The file of its entry.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A model file is not there or not readable.
    #[error("can't read the model file {path}: {source}; in a checkout, `cargo xtask models` makes it")]
    FileUnreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A model file is not the one that the catalogue describes.
    #[error(
        "the model file {path} is not the one in the catalogue: its sha256 is {found}, not {expected}; \
         make or install the models again"
    )]
    WrongFile {
        /// Which file.
        path: PathBuf,
        /// From the catalogue.
        expected: String,
        /// Of the file.
        found: String,
    },
}

fn there_are(names: &[String]) -> String {
    if names.is_empty() {
        String::new()
    } else {
        format!("; there are {}", names.join(", "))
    }
}
