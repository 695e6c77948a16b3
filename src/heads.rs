//! Installing trained heads: from what the trainer wrote into the folder of the user's own models.
//!
//! A head is checked wholly before anything of it is copied. Its network gets a name of its own content, so that the old
//! one stays in use until the entry, which is renamed into place last, names the new one.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use tempfile::NamedTempFile;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, Value};

use crate::gallery::{Gallery, MappedClass, Removed};
use crate::identify::Head;
use crate::model::{Catalogue, HeadModel, Kind, Model, ModelFile};
use crate::paths;
use crate::runtime::{Runtime, RuntimeSettings};

/// A head that was installed.
#[derive(Debug)]
pub struct Installed {
    /// Its entry.
    pub head: HeadModel,
    /// The file of its entry in the folder of own models.
    pub file: PathBuf,
    /// The file of its embedder's entry, if that came with it and was not there before.
    pub embedder_file: Option<PathBuf>,
    /// Whom its classes stand for.
    pub classes: Vec<MappedClass>,
}

/// Installs every head in `source`, a catalogue file or a folder of them, and the embedders that they need and that are
/// not there yet. A head of the same name is replaced. Each is checked before it is copied: entry, sha256, whether it
/// fits its embedder, and whether it runs.
///
/// # Errors
/// When there is no head, one can't be used, its name can't be a file's, or a folder or the gallery fails. Of that head
/// nothing is left behind.
pub fn install(source: &Path, settings: &RuntimeSettings, gallery: &mut Gallery) -> anyhow::Result<Vec<Installed>> {
    let (delivered, names) = delivered(source)?;
    ensure!(
        !names.is_empty(),
        "there is no head in {}: no [[model]] with kind = \"head\"",
        source.display()
    );
    let models_d = paths::models_d(settings.models_d.as_deref());
    let runtime = Runtime::load(settings)?;
    names
        .into_iter()
        .map(|name| {
            Delivery {
                delivered: &delivered,
                models_d: &models_d,
                name: &name,
            }
            .install(settings, &runtime, gallery)
            .with_context(|| format!("the head {name} was not installed"))
        })
        .collect()
}

/// The catalogue in `source` and the names of its heads.
fn delivered(source: &Path) -> anyhow::Result<(Catalogue, Vec<String>)> {
    let mut delivered = Catalogue::default();
    if source.is_dir() {
        let entries = fs::read_dir(source).with_context(|| format!("can't read {}", source.display()))?;
        let mut files = entries
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<Vec<_>>>()?;
        files.retain(|file| file.extension().is_some_and(|ending| ending == "toml"));
        files.sort();
        for file in files {
            delivered.add(&file)?;
        }
    } else {
        delivered.add(source)?;
    }
    let heads = delivered.models().filter(|model| model.kind == Kind::Head);
    let names = heads.map(|model| model.name.clone()).collect();
    Ok((delivered, names))
}

/// A head that is to be installed.
struct Delivery<'a> {
    delivered: &'a Catalogue,
    models_d: &'a Path,
    name: &'a str,
}

impl Delivery<'_> {
    fn install(
        &self,
        settings: &RuntimeSettings,
        runtime: &Runtime,
        gallery: &mut Gallery,
    ) -> anyhow::Result<Installed> {
        let name = self.name;
        let entry = self.entry(Kind::Head, name)?;
        let (here, problems) = Catalogue::gather(&paths::models_dir(settings.models.as_deref()), self.models_d);
        if let Some(problem) = problems.into_iter().next() {
            bail!("the models that are installed have a mistake: {problem}");
        }
        let target = self.file_of(Kind::Head, name)?;
        if let Some(old) = here.file_of(Kind::Head, name) {
            ensure!(
                old == target,
                "{} has a head of that name, which was not made by `kith heads install`; rename or remove it",
                old.display()
            );
        }
        // The embedder comes along where there is none of its name, or one that came so. Others stay as they are.
        let embedder = entry.embedder.as_deref().unwrap_or_default();
        let brings = self.delivered.file_of(Kind::Embedder, embedder).is_some()
            && match here.file_of(Kind::Embedder, embedder) {
                None => true,
                Some(old) => old == self.file_of(Kind::Embedder, embedder)?,
            };

        let checked = self.checked(&here, brings.then_some(embedder))?;
        let head = checked.head(name)?;
        Head::open(&checked, head.clone(), runtime)?;

        fs::create_dir_all(self.models_d).with_context(|| format!("can't make {}", self.models_d.display()))?;
        // All that may fail comes before the people are made, and that before the renamings.
        let (mut embedder_file, mut classes) = (None, Vec::new());
        let mut map = || -> anyhow::Result<()> {
            classes = gallery.map_classes(name, &head.classes, Removed::MapAgain)?;
            Ok(())
        };
        let file = self.place(Kind::Head, name, || {
            if brings {
                embedder_file = Some(self.place(Kind::Embedder, embedder, map)?);
                Ok(())
            } else {
                map()
            }
        })?;
        Ok(Installed {
            head,
            file,
            embedder_file,
            classes,
        })
    }

    fn entry(&self, kind: Kind, name: &str) -> anyhow::Result<&Model> {
        let mut models = self.delivered.models();
        models
            .find(|model| model.kind == kind && model.name == name)
            .with_context(|| format!("there is no {} named {name}", kind.name()))
    }

    /// Where the entry goes.
    fn file_of(&self, kind: Kind, name: &str) -> anyhow::Result<PathBuf> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        ensure!(
            !name.is_empty() && name.len() <= 64 && name.chars().all(allowed),
            "{name:?} can't be the name of a file; use only letters, digits, `_`, `-` and `.`, at most 64 of them"
        );
        Ok(self.models_d.join(format!("{}-{name}.toml", kind.name())))
    }

    /// A catalogue of what is there and what is to come: the head, and its embedder if it comes along.
    fn checked(&self, here: &Catalogue, embedder: Option<&str>) -> anyhow::Result<Catalogue> {
        let mut checked = here.with_entry_of(self.delivered, Kind::Head, self.name);
        if let Some(embedder) = embedder {
            checked = checked.with_entry_of(self.delivered, Kind::Embedder, embedder);
            // Its network is read here only to know that it is whole.
            checked.read_file(&checked.embedder(embedder)?.file)?;
            let mut others = here
                .models()
                .filter(|model| model.kind == Kind::Head && model.name != self.name);
            if let Some(other) =
                others.find(|other| here.head(&other.name).is_ok() && checked.head(&other.name).is_err())
            {
                bail!(
                    "it brings another embedder named {embedder} than the one that the head {} was trained on; remove \
                     that head first, or give the new embedder another name",
                    other.name
                );
            }
        }
        Ok(checked)
    }

    /// Copies networks and entry, and calls `before` when all but the last renaming is done. Nothing new is left where
    /// it fails.
    fn place(&self, kind: Kind, name: &str, before: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<PathBuf> {
        let target = self.file_of(kind, name)?;
        let model = self.entry(kind, name)?;
        let mut table = self.table(kind, name)?;
        let old = files_in(&target);
        let mut new = Vec::new();
        let placed = (|| {
            for (role, file) in &model.files {
                let bytes = self.delivered.read_file(file)?;
                let digits = file.sha256.get(..8).unwrap_or(&file.sha256);
                let file_name = format!("{}-{name}-{role}-{digits}.onnx", kind.name());
                let path = self.models_d.join(&file_name);
                if !path.exists() {
                    new.push(path.clone());
                }
                write_whole(&path, &bytes)?;
                set_path(&mut table, role, &file_name)?;
            }
            let mut document = DocumentMut::new();
            let mut models = ArrayOfTables::new();
            models.push(table);
            document.insert("model", Item::ArrayOfTables(models));
            let unfinished = written(self.models_d, document.to_string().as_bytes())?;
            before()?;
            unfinished
                .persist(&target)
                .map_err(|error| error.error)
                .with_context(|| format!("can't write {}", target.display()))?;
            sync(self.models_d);
            Ok(())
        })();
        let unwanted = match placed {
            Ok(()) => {
                let kept = files_in(&target);
                old.into_iter().filter(|file| !kept.contains(file)).collect()
            }
            Err(_) => new,
        };
        for file in unwanted {
            let _ = fs::remove_file(file);
        }
        placed.map(|()| target)
    }

    /// The entry as it was written, with its comments.
    fn table(&self, kind: Kind, name: &str) -> anyhow::Result<Table> {
        let file = self.delivered.file_of(kind, name).context("the entry has no file")?;
        let text = fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
        let document: DocumentMut = text.parse().with_context(|| file.display().to_string())?;
        let models = document.get("model").and_then(Item::as_array_of_tables);
        let table = models.into_iter().flatten().find(|table| is_entry(table, kind, name));
        table
            .cloned()
            .with_context(|| format!("{} has no [[model]] of that name", file.display()))
    }
}

/// Removes the head `name` from `models_d`, its entry first. Gives the file that the entry was in.
///
/// # Errors
/// When there is no such head, it is not in `models_d`, or the folder can't be written.
pub fn remove(catalogue: &Catalogue, models_d: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let Some(file) = catalogue.file_of(Kind::Head, name) else {
        bail!("no head named {name} is installed; `kith heads` lists them")
    };
    ensure!(
        file.starts_with(models_d),
        "the head {name} came with Kith, in {}, and can't be removed",
        file.display()
    );
    let networks = catalogue
        .models()
        .filter(|model| model.kind == Kind::Head && model.name == name);
    let networks: Vec<PathBuf> = networks
        .flat_map(|model| model.files.values().map(|file| file.path.clone()))
        .collect();
    let write = || format!("can't change {}", file.display());
    let text = fs::read_to_string(file).with_context(write)?;
    let mut document: DocumentMut = text.parse().with_context(write)?;
    let models = document.get_mut("model").and_then(Item::as_array_of_tables_mut);
    let models = models.context("the entry has gone meanwhile").with_context(write)?;
    models.retain(|table| !is_entry(table, Kind::Head, name));
    if models.is_empty() {
        fs::remove_file(file).with_context(write)?;
    } else {
        let unfinished = written(models_d, document.to_string().as_bytes()).with_context(write)?;
        unfinished
            .persist(file)
            .map_err(|error| error.error)
            .with_context(write)?;
    }
    sync(models_d);
    for network in networks {
        let is_shared = catalogue.models().any(|model| {
            (model.kind, model.name.as_str()) != (Kind::Head, name)
                && model.files.values().any(|file| file.path == network)
        });
        if !is_shared && network.starts_with(models_d) {
            fs::remove_file(&network).with_context(|| format!("can't remove {}", network.display()))?;
        }
    }
    Ok(file.to_path_buf())
}

fn is_entry(table: &Table, kind: Kind, name: &str) -> bool {
    let text = |key: &str| table.get(key).and_then(Item::as_str);
    text("kind") == Some(kind.name()) && text("name") == Some(name)
}

/// The networks that the entries in `file` name; none where there is no such file.
fn files_in(file: &Path) -> Vec<PathBuf> {
    let mut catalogue = Catalogue::default();
    let _ = catalogue.add(file);
    let files = catalogue.models().flat_map(|model| model.files.values());
    files.map(|ModelFile { path, .. }| path.clone()).collect()
}

fn set_path(table: &mut Table, role: &str, file_name: &str) -> anyhow::Result<()> {
    let file = table
        .get_mut("files")
        .and_then(|files| files.get_mut(role))
        .and_then(Item::as_table_like_mut)
        .with_context(|| format!("files.{role} is no table"))?;
    file.insert("path", Item::Value(Value::from(file_name)));
    Ok(())
}

/// Writes `bytes` to a new file beside their place, on the disk when this returns.
fn written(folder: &Path, bytes: &[u8]) -> anyhow::Result<NamedTempFile> {
    let write = || format!("can't write to {}", folder.display());
    // As readable as any other new file: the daemon may be another user.
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    let mut unfinished = tempfile::Builder::new()
        .prefix(".kith-install-")
        .permissions(permissions)
        .tempfile_in(folder)
        .with_context(write)?;
    unfinished.write_all(bytes).with_context(write)?;
    unfinished.as_file().sync_all().with_context(write)?;
    Ok(unfinished)
}

fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    written(folder, bytes)?
        .persist(path)
        .map_err(|error| error.error)
        .with_context(|| format!("can't write {}", path.display()))?;
    Ok(())
}

/// A renaming is on the disk once its folder is.
fn sync(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}
