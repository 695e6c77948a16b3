//! The catalogue and the models' files.

use super::{Context, Finding, Subject};
use crate::config::Settings;
use crate::model::{Catalogue, CatalogueError, Kind, Model};
use crate::paths;

pub(super) fn check(settings: &Settings, _: &Context) -> Vec<Finding> {
    let folder = paths::models_dir(settings.runtime.models.as_deref());
    let (catalogue, problems) = Catalogue::gather(&folder, &paths::models_d(settings.runtime.models_d.as_deref()));
    let mut findings: Vec<Finding> = problems.iter().map(|problem| failed("", problem)).collect();
    for model in catalogue.models() {
        findings.extend(of_model(&catalogue, model));
    }
    findings
}

/// A line for a model that is as it should be, else one for each thing that is not.
fn of_model(catalogue: &Catalogue, model: &Model) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut sums = Vec::new();
    for (role, file) in &model.files {
        match catalogue.read_file(file) {
            Ok(_) => sums.push(format!("{role} {}", file.sha256.get(..12).unwrap_or(&file.sha256))),
            Err(error) => findings.push(failed(&format!("{}/{role}", model.name), &error)),
        }
    }
    let whole = match model.kind {
        Kind::Detector => Ok(()),
        Kind::Embedder => catalogue.embedder(&model.name).map(|_| ()),
        Kind::Head => catalogue.head(&model.name).map(|_| ()),
    };
    findings.extend(whole.err().map(|error| failed(&model.name, &error)));
    if findings.is_empty() {
        let seen = format!("{}, sha256 right: {}", model.kind.name(), sums.join(", "));
        findings.push(Finding::ok(Subject::Models, model.name.as_str(), seen));
    }
    findings
}

fn failed(about: &str, error: &CatalogueError) -> Finding {
    let again = "make or install the models again: in a checkout `cargo xtask models`, from the package \
                 `sudo apt install --reinstall kith`";
    let mend = match error {
        CatalogueError::Unreadable { path, .. } => format!(
            "name the folder of models.toml with `runtime.models` or KITH_MODELS ({} was tried), or {again}",
            path.display()
        ),
        CatalogueError::Malformed { path, .. } => format!("correct or remove {}", path.display()),
        CatalogueError::Twice { second, .. } => format!("rename one, or remove {}", second.display()),
        CatalogueError::NoSuchModel { kind, .. } if *kind == Kind::Head.name() => {
            "install the head again with `kith heads install FOLDER`".to_owned()
        }
        CatalogueError::NoSuchModel { .. }
        | CatalogueError::FileUnreadable { .. }
        | CatalogueError::WrongFile { .. } => again.to_owned(),
        CatalogueError::Incomplete { model, .. } | CatalogueError::Values { model, .. } => {
            format!("complete the entry of {model}; docs/reference/models.md says what belongs there")
        }
        CatalogueError::Head { file, .. } => format!(
            "train the head again and install it with `kith heads install`, or remove it: {}",
            file.display()
        ),
    };
    Finding::failed(Subject::Models, about, error.to_string(), mend)
}
