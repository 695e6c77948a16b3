//! Who may read the state and the secrets, and who runs what.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Gid, Uid, User};

use super::{Context, Finding, Subject};
use crate::admin;
use crate::config::secret_files;
use crate::paths;

/// The user of the service.
const SERVICE_USER: &str = "kith";
/// The service's state folder.
const SERVICE_STATE: &str = "/var/lib/kith";

pub(super) fn check(context: &Context) -> Vec<Finding> {
    let mut findings = state(&context.state);
    findings.extend(secrets(&context.file));
    findings.push(group());
    if let Ok(settings) = &context.loaded {
        findings.push(cache(&paths::cache_dir(settings.runtime.cache.as_deref())));
    }
    findings
}

/// The folder of what can be made again: TensorRT's engines.
fn cache(folder: &Path) -> Finding {
    let place = folder.display();
    let made = folder.ancestors().find(|folder| folder.is_dir());
    if made.is_some_and(|made| rustix::fs::access(made, rustix::fs::Access::WRITE_OK).is_ok()) {
        return Finding::ok(Subject::Permissions, "cache", format!("{place} can be written to"));
    }
    Finding::warning(
        Subject::Permissions,
        "cache",
        format!("{place} can't be written to: TensorRT's engines would be built at each start"),
        format!(
            "`sudo install -d -o {SERVICE_USER} -g {SERVICE_USER} {place}`, or name another folder with `runtime.cache`"
        ),
    )
}

/// The state folder and what is in it.
fn state(folder: &Path) -> Vec<Finding> {
    let place = folder.display();
    let metadata = match fs::metadata(folder) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return vec![not_there_yet(folder)];
        }
        Err(error) => {
            return vec![Finding::failed(
                Subject::Permissions,
                "state",
                format!("can't look at the state folder {place}: {error}"),
                "run this as the service's user or as root: `sudo kith check`",
            )];
        }
    };
    let mut findings = Vec::new();
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        findings.push(Finding::failed(
            Subject::Permissions,
            "state",
            format!("other users can look into the state folder {place} (mode {mode:03o})"),
            format!("`chmod 700 {place}`"),
        ));
    }
    // The folder's owner is who should run the daemon, but for a service's that somebody made by hand.
    let service = (folder == Path::new(SERVICE_STATE))
        .then(|| User::from_name(SERVICE_USER).ok().flatten())
        .flatten();
    let owner = service.as_ref().map_or(metadata.uid(), |user| user.uid.as_raw());
    let (strangers, open, unreadable) = entries(folder, &metadata, owner);
    let name = name_of(owner);
    if !strangers.is_empty() {
        findings.push(Finding::failed(
            Subject::Permissions,
            "state",
            format!("not of the user {name}: {}", list(&strangers)),
            format!("`sudo chown -R {name}: {place}`"),
        ));
    }
    if !open.is_empty() {
        findings.push(Finding::failed(
            Subject::Permissions,
            "state",
            format!("other users may read {}", list(&open)),
            format!("`chmod go= {place}/*`"),
        ));
    }
    let me = Uid::effective();
    if me.as_raw() != owner && !me.is_root() {
        findings.push(Finding::warning(
            Subject::Permissions,
            "user",
            format!(
                "this runs as {}, the daemon as {name}: not everything can be looked at",
                name_of(me.as_raw())
            ),
            "`sudo kith check`",
        ));
    } else if let Some(error) = unreadable {
        findings.push(Finding::failed(
            Subject::Permissions,
            "state",
            format!("can't look into the state folder {place}: {error}"),
            format!("`chmod 700 {place}`"),
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            Subject::Permissions,
            "state",
            format!("{place} is {name}'s alone (mode {mode:03o})"),
        ));
    }
    findings
}

fn not_there_yet(folder: &Path) -> Finding {
    let above = folder.ancestors().skip(1).find(|above| above.is_dir());
    let place = folder.display();
    let writable = above.is_some_and(|above| rustix::fs::access(above, rustix::fs::Access::WRITE_OK).is_ok());
    if writable {
        let seen = format!("{place} is not there yet; the first start or enrolment makes it");
        Finding::ok(Subject::Permissions, "state", seen)
    } else {
        Finding::failed(
            Subject::Permissions,
            "state",
            format!(
                "{place} is not there, and {} may not make it",
                name_of(Uid::effective().as_raw())
            ),
            format!(
                "`sudo install -d -m 700 -o {SERVICE_USER} -g {SERVICE_USER} {place}`, or name another folder with `state` \
                 or --state"
            ),
        )
    }
}

/// What is not of `owner`, what others may read, and why the folder can't be listed.
fn entries(folder: &Path, itself: &Metadata, owner: u32) -> (Vec<String>, Vec<String>, Option<io::Error>) {
    let mut strangers = Vec::new();
    let mut open = Vec::new();
    if itself.uid() != owner {
        strangers.push(folder.display().to_string());
    }
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return (strangers, open, Some(error)),
    };
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        let name = entry.file_name().to_string_lossy().into_owned();
        if metadata.uid() != owner {
            strangers.push(name.clone());
        }
        // The socket is the group's on purpose, and whoever reaches it is asked who they are.
        if metadata.is_file() && metadata.mode() & 0o077 != 0 {
            open.push(name);
        }
    }
    strangers.sort();
    open.sort();
    (strangers, open, None)
}

/// The files with passwords and keys, and addresses with a password in the configuration itself.
fn secrets(file: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut closed = 0;
    for secret in secret_files(file) {
        // One that isn't there is a mistake of the configuration.
        let Ok(metadata) = fs::metadata(&secret.path) else {
            continue;
        };
        if is_open(&metadata) {
            findings.push(Finding::warning(
                Subject::Permissions,
                "secrets",
                format!(
                    "every user of this machine can read {} ({})",
                    secret.path.display(),
                    secret.key
                ),
                format!("`chmod o= {}`", secret.path.display()),
            ));
        } else {
            closed += 1;
        }
    }
    let inside = fs::read_to_string(file).is_ok_and(|text| holds_password(&text));
    if inside && fs::metadata(file).is_ok_and(|metadata| is_open(&metadata)) {
        findings.push(Finding::warning(
            Subject::Permissions,
            "secrets",
            format!(
                "every user of this machine can read {}, and a camera's address in it holds a password",
                file.display()
            ),
            "move it to the camera's `username` and `password_file`",
        ));
    }
    if findings.is_empty() && closed > 0 {
        let s = if closed == 1 { "" } else { "s" };
        let seen = format!("{closed} file{s} with passwords or keys, closed to others");
        findings.push(Finding::ok(Subject::Permissions, "secrets", seen));
    }
    findings
}

fn is_open(metadata: &Metadata) -> bool {
    metadata.mode() & 0o004 != 0
}

/// Whether an address in the configuration has a password.
fn holds_password(text: &str) -> bool {
    let addresses = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    addresses
        .filter_map(|line| line.split_once("://"))
        .filter_map(|(_, rest)| rest.split(['/', '"', '\'']).next()?.rsplit_once('@'))
        .any(|(login, _)| login.contains(':'))
}

/// The group whose members may administer the daemon.
fn group() -> Finding {
    let Some(group) = admin::group() else {
        return Finding::ok(
            Subject::Permissions,
            "group",
            format!(
                "no group {}: only the daemon's user and root may use its socket",
                admin::GROUP
            ),
        );
    };
    let me = Uid::effective();
    let may = me.is_root() || admin::is_member(me, Gid::effective(), group);
    let who = name_of(me.as_raw());
    if may {
        Finding::ok(
            Subject::Permissions,
            "group",
            format!("{who} may use the daemon's socket"),
        )
    } else {
        Finding::warning(
            Subject::Permissions,
            "group",
            format!(
                "{who} is not in the group {}, whose members may use the daemon's socket",
                admin::GROUP
            ),
            format!("`sudo usermod -aG {} {who}`, then log in again", admin::GROUP),
        )
    }
}

fn name_of(user: u32) -> String {
    User::from_uid(Uid::from_raw(user))
        .ok()
        .flatten()
        .map_or_else(|| user.to_string(), |user| user.name)
}

/// The first few of `names`.
fn list(names: &[String]) -> String {
    const FEW: usize = 4;
    let mut text = names[..names.len().min(FEW)].join(", ");
    if names.len() > FEW {
        text += &format!(" and {} more", names.len() - FEW);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::holds_password;

    #[test]
    fn a_password_in_an_address_is_seen() {
        for (text, holds) in [
            ("url = \"rtsp://viewer:secret@cam/live\"", true),
            ("url = 'rtsp://viewer:p@ss@cam/live'", true),
            ("url = \"rtsp://viewer@cam/live\"", false),
            ("url = \"rtsp://cam:554/live\"", false),
            ("# url = \"rtsp://viewer:secret@cam/live\"", false),
            ("url = \"rtsp://cam/a@b:c\"", false),
        ] {
            assert_eq!(holds_password(text), holds, "{text}");
        }
    }
}
