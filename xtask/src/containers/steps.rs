//! Runs the steps of a Dockerfile one after the other in Debian roots: arguments, environment, user and folder applied as
//! an engine does, and each step's outcome kept for the log.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::bases::{self, Base};
use super::context::Ignored;
use super::dockerfile::{Dockerfile, Instruction, Stage, expand, pairs};
use crate::checkout::{self, Checkout};
use crate::progress;
use crate::root::Copy;
use crate::setup::Setup;

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Stage and instruction.
    pub(crate) step: String,
    /// `ok`, or why it was not run.
    pub(crate) outcome: String,
    /// How long it took; `None` when it was not run.
    pub(crate) took: Option<Duration>,
}

/// A way to build a Dockerfile.
pub(crate) struct Variant {
    /// Its path.
    pub(crate) file: &'static str,
    /// Build arguments.
    pub(crate) given: &'static [(&'static str, &'static str)],
    /// Ends of steps that are not run again where the same was run in another variant, on another base: they would take
    /// the compiler for minutes.
    pub(crate) not_again: &'static [&'static str],
}

impl Variant {
    /// As one would type it, near enough.
    pub(crate) fn name(&self) -> String {
        let given: Vec<String> = self
            .given
            .iter()
            .map(|(name, value)| format!(", {name}={value}"))
            .collect();
        format!("{}{}", self.file, given.concat())
    }
}

/// What is built, and what was run before.
pub(crate) struct Builder<'a> {
    checkout: &'a Checkout,
    setup: &'a Setup<'a>,
    ignored: Ignored,
    /// Whether the roots of stages that others copy from stay for a later run.
    keeps: bool,
    /// Roots of the stages whose files others copy, by image and name; steps are not repeated in them.
    kept: BTreeMap<String, Built>,
}

/// A stage whose steps have been run.
struct Built {
    base: Base,
    /// The steps, with what their variables were, and in which variant they were run.
    done: BTreeMap<String, String>,
}

/// The image that came out.
pub(crate) struct Image {
    pub(crate) copy: Copy,
    pub(crate) environment: BTreeMap<String, String>,
    /// A number.
    pub(crate) user: String,
}

impl Image {
    /// What an engine gave out into `folder`. Such a thing has neither environment nor user, so they are taken from the
    /// Dockerfile for PCs, and the one for Jetsons says the same.
    ///
    /// # Errors
    /// When the folder or the Dockerfile can't be read.
    pub(crate) fn exported(checkout: &Checkout, folder: &Path) -> Result<Self> {
        let file = super::lint::read(checkout, super::lint::DOCKERFILES[0])?;
        let image = file.stages.last().context("there is no stage")?;
        let user = image.last("USER").context("the image has no user")?;
        Ok(Self {
            copy: Copy::at(folder)?,
            environment: image.environment().into_iter().collect(),
            user: user.text.clone(),
        })
    }
}

/// Where a stage is while its steps run.
struct Situation {
    known: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    folder: String,
    user: String,
}

impl<'a> Builder<'a> {
    /// Nothing built yet. With `keeps`, roots of stages that others copy from stay, and are gone on in.
    ///
    /// # Errors
    /// When `.dockerignore` can't be read.
    pub(crate) fn new(checkout: &'a Checkout, setup: &'a Setup<'a>, keeps: bool) -> Result<Self> {
        Ok(Self {
            checkout,
            setup,
            ignored: Ignored::read(checkout)?,
            keeps,
            kept: BTreeMap::new(),
        })
    }

    /// Runs what can be run of `variant`. The image is there if all of it could.
    ///
    /// # Errors
    /// When a step fails.
    pub(crate) fn build(&mut self, variant: &Variant, log: &mut Vec<Entry>) -> Result<Option<Image>> {
        let file = super::lint::read(self.checkout, variant.file)?;
        let given: BTreeMap<String, String> = variant
            .given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let last = file.stages.last().context("there is no stage")?;
        let mut whole = true;
        for stage in needed(&file, last, &given) {
            let image = file.image(stage, &given);
            let is_last = stage.name == last.name;
            // What another variant built from the same image under the same name goes on from there, as with an
            // engine's cache: a step that was run with the same variables is not run again.
            let key = format!("{image} {}", stage.name);
            let before = if is_last { None } else { self.kept.remove(&key) };
            let keep = (self.keeps && !is_last).then(|| self.kept_folder(&key));
            let built = match before {
                Some(built) => Some(built),
                None => bases::of(&image, self.checkout, self.setup, keep.as_deref())?.map(|base| Built {
                    base,
                    done: BTreeMap::new(),
                }),
            };
            let Some(mut built) = built else {
                whole = false;
                log.extend(self.skipped(stage, &format!("not run: needs {image}")));
                continue;
            };
            log.push(Entry {
                step: format!("{}: FROM", stage.name),
                outcome: built.base.stands_for.clone(),
                took: None,
            });
            let (situation, is_whole) = self.stage(variant, &file, stage, &given, &mut built, log)?;
            whole &= is_whole;
            bases::clean(&built.base.copy);
            if is_last {
                let mut environment = built.base.environment;
                environment.extend(situation.environment);
                return Ok(whole.then_some(Image {
                    copy: built.base.copy,
                    environment,
                    user: situation.user,
                }));
            }
            self.kept.insert(key, built);
        }
        Ok(None)
    }

    fn kept_folder(&self, key: &str) -> PathBuf {
        let name = key.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        self.checkout.path(".cache/containers").join(name)
    }

    /// Runs the steps of one stage; says whether all were run, some time.
    fn stage(
        &self,
        variant: &Variant,
        file: &Dockerfile,
        stage: &Stage,
        given: &BTreeMap<String, String>,
        built: &mut Built,
        log: &mut Vec<Entry>,
    ) -> Result<(Situation, bool)> {
        let mut whole = true;
        let mut now = Situation {
            known: BTreeMap::new(),
            environment: built.base.environment.clone(),
            folder: "/".to_owned(),
            user: "0".to_owned(),
        };
        for instruction in &stage.instructions {
            let Instruction { line, word, text } = instruction;
            let expanded = expand(text, &now.known);
            match word.as_str() {
                "ARG" => {
                    let (name, default) = text.split_once('=').unwrap_or((text, ""));
                    let fallback = file.arguments.get(name).cloned();
                    let fallback = fallback.unwrap_or_else(|| default.trim_matches('"').to_owned());
                    let value = given.get(name).cloned().unwrap_or(fallback);
                    now.known.insert(name.to_owned(), value);
                }
                "ENV" => {
                    for (name, value) in pairs(&expanded) {
                        now.known.insert(name.clone(), value.clone());
                        now.environment.insert(name, value);
                    }
                }
                "WORKDIR" => now.folder = expanded,
                "USER" => now.user = expanded,
                "RUN" | "COPY" => {
                    let step = format!("{}: {word} {text}", stage.name);
                    let key = format!("{word} {text} {:?}", uses(text, &now.known));
                    let since = Instant::now();
                    let elsewhere = self.kept.values().find_map(|built| built.done.get(&key));
                    let outcome = if let Some(before) = built.done.get(&key) {
                        format!("as in {before}, and not run again")
                    } else if let Some(before) =
                        elsewhere.filter(|_| variant.not_again.iter().any(|end| text.ends_with(end)))
                    {
                        whole = false;
                        format!("not run again: the same was run for {before}")
                    } else {
                        progress::headline(&step);
                        let at = || format!("{}, line {line}", variant.name());
                        if word == "RUN" {
                            self.run(text, &built.base.copy, &now).with_context(at)?;
                        } else {
                            self.copy(&expanded, stage, file, given, &built.base.copy)
                                .with_context(at)?;
                        }
                        built.done.insert(key, variant.name());
                        "ok".to_owned()
                    };
                    let took = (outcome == "ok").then(|| since.elapsed());
                    log.push(Entry { step, outcome, took });
                }
                // What an engine keeps for when the image is started.
                "VOLUME" | "HEALTHCHECK" | "ENTRYPOINT" | "CMD" => {}
                other => bail!("{}, line {line}: nobody knows how to do {other}", variant.name()),
            }
        }
        Ok((now, whole))
    }

    fn run(&self, text: &str, copy: &Copy, now: &Situation) -> Result<()> {
        if now.user != "0" {
            bail!("a step of another user than root");
        }
        fs::create_dir_all(copy.path(&now.folder)).with_context(|| format!("can't make {}", now.folder))?;
        let mut command: Command = copy.command("/bin/sh");
        // Arguments are in the environment of a step, as with an engine.
        command
            .args(["-c", &format!("cd {} && {text}", now.folder)])
            .env("PATH", bases::PATH)
            .envs(&now.known)
            .envs(&now.environment);
        bases::let_out(&mut command, copy)?;
        checkout::run(&mut command)
    }

    fn copy(
        &self,
        text: &str,
        stage: &Stage,
        file: &Dockerfile,
        given: &BTreeMap<String, String>,
        to: &Copy,
    ) -> Result<()> {
        let mut words: Vec<&str> = text.split_whitespace().collect();
        let from = words.first().and_then(|word| word.strip_prefix("--from="));
        let target = words.pop().context("COPY needs a target")?;
        let folder = to.path(target);
        fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
        if let Some(from) = from {
            let from = file.stage(from).with_context(|| format!("there is no stage {from}"))?;
            let key = format!("{} {}", file.image(from, given), from.name);
            let built = self.kept.get(&key);
            let built =
                built.with_context(|| format!("{} copies from {}, which was not built", stage.name, from.name))?;
            for source in words.iter().skip(1) {
                let source = built.base.copy.path(source);
                let mut tar = self.checkout.command("cp");
                tar.arg("--archive").arg(format!("{}/.", source.display())).arg(&folder);
                checkout::capture(&mut tar)?;
            }
            return Ok(());
        }
        for source in words {
            let whole = self.checkout.path(source);
            let prefix = source.trim_start_matches('.').trim_matches('/');
            let files = self.ignored.files(self.checkout, source)?;
            // What an earlier run copied into a root that was kept, and is no longer there.
            let tops = files
                .iter()
                .filter_map(|file| file.strip_prefix(prefix).ok()?.iter().next());
            for old in tops.collect::<BTreeSet<_>>() {
                let old = folder.join(old);
                if old.is_dir() {
                    fs::remove_dir_all(&old).with_context(|| format!("can't remove {}", old.display()))?;
                }
            }
            for file in files {
                // A file goes into the target folder; of a folder what is in it.
                let name = if whole.is_file() {
                    Path::new(file.file_name().context("a file has a name")?)
                } else {
                    file.strip_prefix(prefix)?
                };
                let (from, to) = (self.checkout.root().join(&file), folder.join(name));
                let failed = || format!("can't copy {} to {}", from.display(), to.display());
                if let Some(parent) = to.parent() {
                    fs::create_dir_all(parent).with_context(failed)?;
                }
                fs::copy(&from, &to).with_context(failed)?;
                // As an engine does, and so that cargo sees what is still as it was.
                let changed = fs::metadata(&from).and_then(|from| from.modified());
                let copy = fs::File::options().write(true).open(&to).with_context(failed)?;
                changed.and_then(|time| copy.set_modified(time)).with_context(failed)?;
            }
        }
        Ok(())
    }

    fn skipped(&self, stage: &Stage, why: &str) -> Vec<Entry> {
        let steps = stage
            .instructions
            .iter()
            .filter(|instruction| instruction.word == "RUN");
        let entry = |instruction: &Instruction| {
            // The same words as in a stage that was built: then it was tried, if not here.
            let tried = self.kept.values().find_map(|built| {
                let key = built
                    .done
                    .iter()
                    .find(|(key, _)| key.starts_with(&format!("RUN {} ", instruction.text)));
                key.map(|(_, variant)| variant)
            });
            let also = tried
                .map(|variant| format!("; the same was run for {variant}"))
                .unwrap_or_default();
            Entry {
                step: format!("{}: RUN {}", stage.name, instruction.text),
                outcome: format!("{why}{also}"),
                took: None,
            }
        };
        steps.map(entry).collect()
    }
}

/// The stages that `last` is made of, in the order of the file.
fn needed<'f>(file: &'f Dockerfile, last: &'f Stage, given: &BTreeMap<String, String>) -> Vec<&'f Stage> {
    let copied = |stage: &Stage, name: &str| {
        let from = format!("--from={name} ");
        stage
            .instructions
            .iter()
            .any(|instruction| instruction.word == "COPY" && instruction.text.starts_with(&from))
    };
    let mut known = file.arguments.clone();
    known.extend(given.clone());
    let mut wanted = vec![last.name.clone()];
    for stage in file.stages.iter().rev() {
        if !wanted.contains(&stage.name) {
            continue;
        }
        wanted.extend(
            file.stages
                .iter()
                .filter(|other| copied(stage, &other.name))
                .map(|other| other.name.clone()),
        );
    }
    // A stage that only gives its image to others is followed by `Dockerfile::image`.
    file.stages
        .iter()
        .filter(|stage| wanted.contains(&stage.name))
        .collect()
}

/// The variables that `text` uses, with their values.
fn uses(text: &str, known: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let used = known
        .iter()
        .filter(|(name, _)| text.contains(&format!("${name}")) || text.contains(&format!("${{{name}}}")));
    used.map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::needed;
    use crate::containers::dockerfile::Dockerfile;

    #[test]
    fn only_the_stages_of_the_variant_are_built() {
        let text = "ARG KIND=6\nFROM a:1 AS rust\nFROM b:1 AS build-6\nFROM c:1 AS build-7\nFROM build-${KIND} AS build\n\
                    COPY --from=rust /x /x\nFROM b:1 AS image\nCOPY --from=build /out/ /\n";
        let file = Dockerfile::parse(text).unwrap();
        let last = file.stages.last().unwrap();
        let names: Vec<&str> = needed(&file, last, &BTreeMap::new())
            .iter()
            .map(|stage| stage.name.as_str())
            .collect();
        assert_eq!(names, ["rust", "build", "image"]);
        let given = BTreeMap::from([("KIND".to_owned(), "7".to_owned())]);
        assert_eq!(file.image(file.stage("build").unwrap(), &given), "c:1");
    }
}
