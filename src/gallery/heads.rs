//! Whom the classes of trained heads stand for.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use ulid::Ulid;

use super::Gallery;
use super::enrol::add_person;
use super::error::GalleryError;
use super::name::Name;
use super::people::find;
use super::record::{self, PERSON_COLUMNS, Person};

/// Whom a class of a head stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct MappedClass {
    /// The class, as the head's entry has it.
    pub class: String,
    /// The person; `None` once they were removed from the gallery.
    pub person: Option<Person>,
    /// Whether the person was made for this class.
    pub is_new: bool,
}

/// What becomes of a class whose person was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// It stays without a person: opening a head brings nobody back.
    Stay,
    /// It gets one as a new class does: the head is installed again.
    MapAgain,
}

impl Gallery {
    /// Maps each of `classes` of the head `head` to a person, all or none: as it is mapped already, else to the person
    /// with that uid, id or name, else to a new one without faces. Classes that the head no longer has are forgotten.
    /// Writes nothing where nothing changes.
    ///
    /// # Errors
    /// When a class is the name of several people or can't be a name, or the database fails.
    pub fn map_classes(
        &mut self,
        head: &str,
        classes: &[String],
        removed: Removed,
    ) -> Result<Vec<MappedClass>, GalleryError> {
        let before = self.class_people(head)?;
        let is_mapped = |class: &String| {
            let row = before.iter().find(|(of, _)| of == class);
            row.is_some_and(|(_, person)| person.is_some() || removed == Removed::Stay)
        };
        if before.len() == classes.len() && classes.iter().all(is_mapped) {
            return Ok(in_order(classes, before, &[]));
        }
        let transaction = self.begin()?;
        let mut new = Vec::new();
        for (class, _) in before.iter().filter(|(class, _)| !classes.contains(class)) {
            transaction.execute("DELETE FROM head_class WHERE head = ? AND class = ?", [head, class])?;
        }
        for class in classes {
            let mapped: Option<Option<i64>> = transaction
                .query_row(
                    "SELECT person FROM head_class WHERE head = ? AND class = ?",
                    [head, class],
                    |row| row.get(0),
                )
                .optional()?;
            match (mapped, removed) {
                (Some(Some(_)), _) | (Some(None), Removed::Stay) => continue,
                (None, _) | (Some(None), Removed::MapAgain) => {}
            }
            let (key, is_new) = person_for(&transaction, class)?;
            if is_new {
                new.push(class.as_str());
            }
            transaction.execute(
                "INSERT INTO head_class (head, class, person) VALUES (?, ?, ?)
                 ON CONFLICT (head, class) DO UPDATE SET person = excluded.person",
                params![head, class, key],
            )?;
        }
        let after = class_people(&transaction, head)?;
        transaction.commit()?;
        Ok(in_order(classes, after, &new))
    }

    /// The classes of the head `head` that are mapped, each with its person; `None` for one who was removed.
    ///
    /// # Errors
    /// When the database fails.
    pub fn class_people(&self, head: &str) -> Result<Vec<(String, Option<Person>)>, GalleryError> {
        class_people(&self.connection, head)
    }

    /// The heads that have a class for the person with this id.
    ///
    /// # Errors
    /// When the database fails.
    pub fn heads_of(&self, id: &str) -> Result<Vec<String>, GalleryError> {
        let mut statement = self.connection.prepare(
            "SELECT DISTINCT c.head FROM head_class c JOIN person p USING (person) WHERE p.id = ? ORDER BY c.head",
        )?;
        let heads = statement.query_map([id], |row| row.get(0))?;
        Ok(heads.collect::<rusqlite::Result<_>>()?)
    }

    /// Forgets the classes of a head that is gone. The people stay.
    ///
    /// # Errors
    /// When the database fails.
    pub fn forget_head(&mut self, head: &str) -> Result<(), GalleryError> {
        let transaction = self.begin()?;
        transaction.execute("DELETE FROM head_class WHERE head = ?", [head])?;
        Ok(transaction.commit()?)
    }
}

fn class_people(connection: &Connection, head: &str) -> Result<Vec<(String, Option<Person>)>, GalleryError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT c.class, {PERSON_COLUMNS} FROM head_class c LEFT JOIN person p USING (person)
         WHERE c.head = ? ORDER BY c.class"
    ))?;
    let classes = statement.query_map([head], |row| {
        let is_there = row.get::<_, Option<String>>("id")?.is_some();
        Ok((row.get("class")?, is_there.then(|| record::person_of(row)).transpose()?))
    })?;
    Ok(classes.collect::<rusqlite::Result<_>>()?)
}

/// The row of the person whom `class` names, and whether they are new.
fn person_for(transaction: &Transaction<'_>, class: &str) -> Result<(i64, bool), GalleryError> {
    if let Ok(uid) = class.parse::<Ulid>() {
        let by_uid = transaction
            .query_row("SELECT person FROM person WHERE uid = ?", [uid.to_string()], |row| {
                row.get(0)
            })
            .optional()?;
        if let Some(key) = by_uid {
            return Ok((key, false));
        }
    }
    match find(transaction, class) {
        Ok((key, _)) => Ok((key, false)),
        Err(GalleryError::NoSuchPerson(_)) => {
            let name = Name::parse(class)?;
            let (key, _) = add_person(transaction, &name.slug(), &name, Ulid::generate(), None)?;
            Ok((key, true))
        }
        Err(error) => Err(error),
    }
}

fn in_order(classes: &[String], mut mapped: Vec<(String, Option<Person>)>, new: &[&str]) -> Vec<MappedClass> {
    let person_of = |class: &str| {
        let at = mapped.iter().position(|(of, _)| of == class)?;
        mapped.swap_remove(at).1
    };
    classes
        .iter()
        .zip(classes.iter().map(String::as_str).map(person_of).collect::<Vec<_>>())
        .map(|(class, person)| MappedClass {
            is_new: new.contains(&class.as_str()),
            class: class.clone(),
            person,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::named;
    use super::*;
    use crate::identify::tests::{CALIBRATION, THRESHOLDS};

    fn classes(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn people(mapped: &[MappedClass]) -> Vec<Option<&str>> {
        mapped
            .iter()
            .map(|one| one.person.as_ref().map(|person| person.id.as_str()))
            .collect()
    }

    #[test]
    fn classes_find_their_people_by_uid_id_and_name_or_make_them() {
        let folder = tempfile::tempdir().unwrap();
        let mut gallery = Gallery::open(folder.path()).unwrap();
        let enrolled = gallery
            .enrol(
                "space",
                &[named("Ann Lee", &[1]), named("bea", &[2]), named("Cid", &[3])],
            )
            .unwrap();
        let uid = enrolled[2].person.uid.to_string();
        let all = classes(&["Zoë", "bea", "Ann Lee", &uid]);
        let mapped = gallery.map_classes("h", &all, Removed::Stay).unwrap();
        assert_eq!(
            people(&mapped),
            [Some("zoe"), Some("bea"), Some("ann-lee"), Some("cid")]
        );
        assert_eq!(
            mapped.iter().map(|one| one.is_new).collect::<Vec<_>>(),
            [true, false, false, false]
        );
        // Once mapped, a class stays with its person whatever they are called, and nothing is written.
        gallery.rename("zoe", &Name::parse("Zoe").unwrap()).unwrap();
        assert!(!gallery.changed().unwrap());
        let again = gallery.map_classes("h", &all, Removed::MapAgain).unwrap();
        assert_eq!(people(&again), people(&mapped));
        assert!(again.iter().all(|one| !one.is_new));
        assert_eq!(gallery.people().unwrap().len(), 4);
        assert_eq!(gallery.heads_of("zoe").unwrap(), ["h"]);
        gallery.check().unwrap();
    }

    #[test]
    fn a_removed_person_stays_removed_until_the_head_is_installed_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut gallery = Gallery::open(folder.path()).unwrap();
        let both = classes(&["ann", "bea"]);
        gallery.map_classes("h", &both, Removed::MapAgain).unwrap();
        gallery.remove(&["ann".into()]).unwrap();
        let stays = gallery.map_classes("h", &both, Removed::Stay).unwrap();
        assert_eq!(people(&stays), [None, Some("bea")]);
        assert_eq!(gallery.people().unwrap().len(), 1);
        let again = gallery.map_classes("h", &both, Removed::MapAgain).unwrap();
        assert_eq!(people(&again), [Some("ann"), Some("bea")]);
        // Another head's classes are its own; a class that went is forgotten.
        gallery.map_classes("other", &both, Removed::Stay).unwrap();
        gallery.map_classes("h", &classes(&["bea"]), Removed::Stay).unwrap();
        assert_eq!(gallery.class_people("h").unwrap().len(), 1);
        gallery.forget_head("h").unwrap();
        assert!(gallery.class_people("h").unwrap().is_empty());
        assert_eq!(gallery.class_people("other").unwrap().len(), 2);
    }

    #[test]
    fn several_people_of_one_name_are_refused_and_nobody_is_mapped() {
        let folder = tempfile::tempdir().unwrap();
        let mut gallery = Gallery::open(folder.path()).unwrap();
        gallery.enrol("space", &[named("Al", &[1]), named("Bo", &[2])]).unwrap();
        gallery.rename("al", &Name::parse("Sam S").unwrap()).unwrap();
        gallery.rename("bo", &Name::parse("Sam S").unwrap()).unwrap();
        let refusal = gallery
            .map_classes("h", &classes(&["New", "Sam S"]), Removed::Stay)
            .unwrap_err();
        assert!(refusal.to_string().contains("al, bo"), "{refusal}");
        assert_eq!(gallery.people().unwrap().len(), 2);
    }

    #[test]
    fn people_without_faces_are_no_hindrance() {
        let folder = tempfile::tempdir().unwrap();
        let mut gallery = Gallery::open(folder.path()).unwrap();
        gallery.map_classes("h", &classes(&["ann"]), Removed::Stay).unwrap();
        gallery.enrol("space", &[named("Bea", &[1])]).unwrap();
        // Not refused for having no vector, and left out.
        let matcher = gallery.matcher("space", THRESHOLDS, CALIBRATION).unwrap();
        assert_eq!(crate::identify::Identifier::people(&matcher), 1);
        let mut export = Vec::new();
        assert_eq!(gallery.export(&[], &mut export).unwrap(), 2);
        let elsewhere = tempfile::tempdir().unwrap();
        let mut other = Gallery::open(elsewhere.path()).unwrap();
        let imported = other.import(&mut export.as_slice()).unwrap();
        assert_eq!(imported.len(), 2);
        assert_eq!(other.find("ann").unwrap(), gallery.find("ann").unwrap());
        // And photos can be added later.
        gallery.enrol("space", &[named("ann", &[2])]).unwrap();
        assert_eq!(gallery.people().unwrap()[0].faces, 1);
    }
}
