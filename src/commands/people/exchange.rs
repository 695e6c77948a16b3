//! `kith people export` and `import`.

use std::fs::File;
use std::io::{BufReader, Write, stdin, stdout};
use std::path::Path;

use anyhow::{Context, bail};
use tempfile::NamedTempFile;

use super::print;
use crate::admin::Keeper;
use crate::commands::terminal::complain;
use crate::gallery::{Gallery, Imported};

/// `kith people export`.
pub(super) fn export(gallery: &mut Gallery, file: &Path, people: &[String], force: bool) -> anyhow::Result<()> {
    if file == Path::new("-") {
        gallery.export(people, &mut stdout().lock())?;
        return Ok(());
    }
    if file.exists() && !force {
        bail!("{} exists already; --force replaces it", file.display());
    }
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let write = || format!("can't write {}", file.display());
    // Written beside its place with mode 0600 and moved there when whole: what bears the name is never half a file.
    let mut unfinished = NamedTempFile::with_prefix_in(".kith-export-", folder).with_context(write)?;
    let mut buffered = std::io::BufWriter::new(&mut unfinished);
    let count = gallery.export(people, &mut buffered)?;
    buffered.flush().with_context(write)?;
    drop(buffered);
    unfinished.as_file().sync_all().with_context(write)?;
    if force {
        unfinished
            .persist(file)
            .map_err(|error| error.error)
            .with_context(write)?;
    } else {
        unfinished
            .persist_noclobber(file)
            .map_err(|error| error.error)
            .with_context(write)?;
    }
    complain(format_args!(
        "{} written to {}; whoever has this file has their faces",
        count_people(count),
        file.display()
    ));
    Ok(())
}

/// `kith people import`.
pub(super) fn import(keeper: &mut Keeper, file: &Path, is_json: bool) -> anyhow::Result<()> {
    let imported = if file == Path::new("-") {
        keeper.import(&mut stdin().lock())?
    } else {
        let export = File::open(file).with_context(|| format!("can't read {}", file.display()))?;
        keeper.import(&mut BufReader::new(export))?
    };
    print(is_json, &imported, || {
        imported.iter().map(imported_line).collect::<Vec<_>>().join("\n")
    })
}

fn imported_line(one: &Imported) -> String {
    let Imported {
        person,
        is_new,
        exported_id,
        exported_name,
        faces_added,
        negatives_added,
    } = one;
    let faces = if *faces_added == 1 {
        "1 face".to_string()
    } else {
        format!("{faces_added} faces")
    };
    let photos = match negatives_added {
        0 => faces,
        negatives => format!("{faces} and {negatives} of others"),
    };
    let told = if *is_new {
        format!("imported with {photos}")
    } else {
        format!("was here, {photos} added")
    };
    let id = if *exported_id == person.id {
        String::new()
    } else {
        format!("; the id {exported_id} was taken")
    };
    let name = if *exported_name == person.name {
        String::new()
    } else {
        format!("; called {exported_name} in the export")
    };
    format!("{} ({}): {told}{id}{name}", person.name, person.id)
}

fn count_people(count: usize) -> String {
    if count == 1 {
        "1 person".into()
    } else {
        format!("{count} people")
    }
}
