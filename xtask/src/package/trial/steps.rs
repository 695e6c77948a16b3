//! What is done to the package, in order, and what has to be true after each step.

use std::collections::BTreeSet;

use anyhow::Result;

use super::super::older;
use super::Trial;
use crate::progress;

const GALLERY: &str = "/var/lib/kith/gallery.sqlite";
/// As a person would write it; the broker isn't there.
const CONFIG: &str = r#"printf '# mine\n[mqtt]\nurl = "mqtt://127.0.0.1:1883"\n[[camera]]\nid = "folder"\nurl = "dir:/srv"\nloop = true\n' >/etc/kith/kith.toml"#;

const INSTALL: &str = "apt-get install -y -q --no-install-recommends -o Dpkg::Options::=--force-confold";

pub(super) fn all(trial: &mut Trial<'_>) -> Result<()> {
    let before = files(trial);
    progress::headline("install");
    install(trial);
    progress::headline("first steps");
    first_steps(trial);
    progress::headline("the service and its people");
    service(trial);
    progress::headline("upgrade");
    upgrade(trial)?;
    progress::headline("remove, reinstall, purge, reinstall");
    remove(trial, &before);
    Ok(())
}

fn install(trial: &mut Trial<'_>) {
    let outcome = trial.sh(&format!("{INSTALL} /old.deb"));
    let evidence = outcome.said.clone();
    trial.claim("the older package installs without a network", outcome.well, &evidence);
    trial.claim(
        "a fresh installation says what to set",
        evidence.contains("Write them into /etc/kith/kith.toml, then: kith check"),
        &evidence,
    );
    trial.says(
        "its user has the state folder as home",
        "getent passwd kith",
        ":/var/lib/kith:",
    );
    trial.works(
        "the user is in the groups of cards and webcams",
        "id -nG kith | grep -w video && id -nG kith | grep -w render",
    );
    for (what, path, wanted) in [
        (
            "only the service looks into its state",
            "/var/lib/kith",
            "700 kith kith",
        ),
        (
            "the configuration is the service's to read, nobody's else",
            "/etc/kith/kith.toml",
            "640 root kith",
        ),
        ("credentials are root's", "/etc/kith/credentials", "700 root root"),
        (
            "models that root adds are where the service looks",
            "/etc/kith/models.d",
            "755 root root",
        ),
        ("programs are root's", "/usr/bin/kith", "755 root root"),
    ] {
        trial.says(what, &format!("stat -c '%a %U %G' {path}"), wanted);
    }
    trial.says(
        "the configuration is a conffile",
        "dpkg-query -W -f '${Conffiles}' kith",
        "/etc/kith/kith.toml",
    );
    trial.works(
        "the service is not enabled before it can run",
        "test ! -e /etc/systemd/system/multi-user.target.wants/kith.service && test -e /usr/lib/systemd/system/kith.service",
    );
    trial.works(
        "systemd finds nothing wrong with the unit",
        "systemd-analyze verify --man=no kith.service",
    );
    trial.works(
        "programs and library find what they link with",
        "for file in /usr/bin/kith /usr/bin/kith-export /usr/lib/kith/libonnxruntime.so; do ! ldd $file | grep 'not found' || exit 1; done",
    );
    trial.works(
        "there are manual pages",
        "for page in kith kith-run kith-enroll kith-export kith-export-import; do gzip -dc /usr/share/man/man1/$page.1.gz | grep -q '^.TH' || exit 1; done",
    );
    trial.works(
        "bash completes kith",
        r#"bash -c '. /usr/share/bash-completion/completions/kith; COMP_WORDS=(kith enr); COMP_CWORD=1; _kith kith enr kith; [ "${COMPREPLY[0]}" = enroll ]'"#,
    );
    trial.works(
        "there are completions for zsh and fish",
        "test -s /usr/share/zsh/vendor-completions/_kith && test -s /usr/share/fish/vendor_completions.d/kith-export.fish",
    );
    trial.works("kith-export starts", "kith-export --version");
}

fn first_steps(trial: &mut Trial<'_>) {
    trial.refuses("kith check says that there is no camera", "kith check", "camera");
    trial.works("somebody writes the configuration", CONFIG);
    let check = trial.sh("kith check --json").said;
    for (subject, about) in [
        ("config", ""),
        ("models", "mtcnn"),
        ("models", "mobilefacenet"),
        ("runtime", ""),
        ("provider", "embedder"),
        ("permissions", "state"),
        ("camera", "folder"),
    ] {
        let place = format!("\"subject\":\"{subject}\",\"about\":\"{about}\"");
        let line = check.lines().find(|line| line.contains(&place));
        trial.claim(
            &format!("kith check finds {subject} {about} well"),
            line.is_some_and(|line| line.contains("\"state\":\"ok\"")),
            &check,
        );
    }
    trial.works(
        "root enrols into the service's gallery",
        &format!("kith enroll Obama /srv/obama.jpg && test -f {GALLERY}"),
    );
    trial.claim_owner("after root's command all of the state is the service's");
    recognises(trial, "the installed program and models");
    trial.works(
        "the service's user sees the same people",
        "runuser -u kith -- kith people list | grep Obama",
    );
}

fn recognises(trial: &mut Trial<'_>, with: &str) {
    trial.says(
        &format!("{with} recognise somebody on another photo"),
        "kith identify /srv/obama2.jpg",
        "Obama",
    );
    trial.works(
        &format!("{with} don't know a stranger"),
        "kith identify /srv/biden.jpg | grep -i unknown",
    );
}

/// The daemon as the unit starts it, but that there is no systemd inside.
fn service(trial: &mut Trial<'_>) {
    trial.works(
        "ada may administer, bob may not",
        "useradd -m -G kith ada && useradd -m bob",
    );
    trial.refuses(
        "a member of the group is told when the service does not run",
        "runuser -u ada -- kith people list",
        "can't be reached",
    );
    let with_daemon = |commands: &str| {
        format!(
            "install -d -o kith -g kith -m 750 /run/kith
             export RUNTIME_DIRECTORY=/run/kith STATE_DIRECTORY=/var/lib/kith
             runuser -u kith -- kith run >/run/log 2>&1 &
             unset RUNTIME_DIRECTORY STATE_DIRECTORY
             for second in $(seq 60); do test -S /run/kith/kith.sock && kith status >/dev/null 2>&1 && break; sleep 1; done
             {{ {commands}; }} || {{ cat /run/log; exit 1; }}
             exit 0"
        )
    };
    trial.works(
        "the daemon runs as the service's user, and a member of the group lists and renames its people",
        &with_daemon("runuser -u ada -- kith people list | grep Obama && runuser -u ada -- kith people rename obama Barack && kith people list | grep Barack && runuser -u ada -- kith people rename obama Obama"),
    );
    trial.works("root's commands reach it", &with_daemon("kith status"));
    trial.works(
        "others don't reach it",
        &with_daemon("! runuser -u bob -- kith people list --socket /run/kith/kith.sock"),
    );
    trial.claim_owner("after the daemon all of the state is the service's");
}

fn upgrade(trial: &mut Trial<'_>) -> Result<()> {
    let gallery = trial.copy.path(GALLERY);
    let newest = older::gallery(trial.checkout, &gallery)?;
    let backup = format!("/var/lib/kith/gallery.before-v{newest}.sqlite");
    trial.is_version("a gallery of schema version 1 is there", GALLERY, 1);
    trial.says(
        "the older package is upgraded",
        &format!("{INSTALL} /new.deb && dpkg-query -W -f '${{Version}}' kith"),
        trial.newest().as_str(),
    );
    trial.works(
        &format!("a file that only {} had is gone", older::VERSION),
        &format!("test ! -e /{}", older::FILE),
    );
    trial.says(
        "the configuration that somebody wrote is as it was",
        "head -n 1 /etc/kith/kith.toml",
        "# mine",
    );
    trial.says(
        "and as readable as before",
        "stat -c '%a %U %G' /etc/kith/kith.toml",
        "640 root kith",
    );
    trial.works(
        "the first command migrates the gallery",
        "kith people list | grep Obama",
    );
    trial.is_version("it is of the newest version", GALLERY, newest);
    trial.is_version("the backup is of version 1", &backup, 1);
    trial.says(
        "the backup is for nobody else's eyes",
        &format!("stat -c '%a %U %G' {backup}"),
        "600 kith kith",
    );
    recognises(trial, "after the migration the vectors of before");
    trial.works(
        "there is one backup, and later commands leave it alone",
        &format!("old=$(stat -c %Y {backup}); kith people list >/dev/null; test $(stat -c %Y {backup}) = $old && test $(ls /var/lib/kith/*before* | wc -l) = 1"),
    );
    older::claim_version(&gallery, newest + 1)?;
    trial.refuses(
        "going back needs the backup: an older Kith refuses the newer gallery",
        "kith people list",
        "newer",
    );
    older::claim_version(&gallery, newest)?;
    Ok(())
}

fn remove(trial: &mut Trial<'_>, before: &BTreeSet<String>) {
    trial.works(
        "it is removed",
        "apt-get remove -y -q kith && test ! -e /usr/bin/kith && test ! -e /usr/lib/kith",
    );
    trial.works(
        "people and configuration stay",
        &format!("test -s {GALLERY} && grep mine /etc/kith/kith.toml"),
    );
    trial.works("it is installed again", &format!("{INSTALL} /new.deb"));
    recognises(trial, "after that the programs");
    let outcome =
        trial.sh("touch /etc/kith/credentials/mqtt-password; install -d /var/cache/kith; apt-get purge -y -q kith");
    let evidence = outcome.said.clone();
    trial.claim("it is purged", outcome.well, &evidence);
    trial.claim(
        "and says what goes",
        evidence.contains("Removing Kith's people"),
        &evidence,
    );
    trial.works(
        "nothing of people, configuration and secrets is left",
        "test ! -e /var/lib/kith && test ! -e /etc/kith && test ! -e /var/cache/kith && ! dpkg-query -W kith",
    );
    let left: Vec<String> = files(trial).difference(before).cloned().collect();
    trial.claim("no file is left", left.is_empty(), &left.join("\n"));
    trial.works(
        "a purged package installs again",
        &format!("{INSTALL} /new.deb && test -d /var/lib/kith"),
    );
    trial.works(
        "where the state is a link to a bigger disk, a purge empties that, too",
        "mv /var/lib/kith /mnt/kith && ln -s /mnt/kith /var/lib/kith && touch /mnt/kith/gallery.sqlite /mnt/kith/.hidden \
         && apt-get purge -y -q kith && test ! -e /var/lib/kith && test -z \"$(ls -A /mnt/kith)\"",
    );
}

/// Every file and folder that a package may leave; not what the system notes about packages and users, nor people's.
fn files(trial: &Trial<'_>) -> BTreeSet<String> {
    let found = trial.sh(
        "find / -xdev \\( -path /proc -o -path /dev -o -path /run -o -path /tmp -o -path /home -o -path /var/lib/dpkg \
         -o -path /var/lib/apt -o -path /var/cache/apt -o -path /var/cache/ldconfig -o -path /var/cache/man -o -path /var/log \
         -o -path /var/mail -o -path /var/spool/mail -o -path /root -o -name 'passwd*' -o -name 'group*' -o -name 'shadow*' -o -name 'gshadow*' \
         -o -name 'subuid*' -o -name 'subgid*' -o -name '.pwd.lock' \\) -prune -o -print",
    );
    found.said.lines().map(str::to_owned).collect()
}

impl Trial<'_> {
    fn claim_owner(&mut self, what: &str) {
        let found = self.sh("find /var/lib/kith ! \\( -user kith -group kith \\) -ls");
        self.claim(what, found.well && found.said.is_empty(), &found.said);
    }

    fn is_version(&mut self, what: &str, database: &str, version: u32) {
        match older::version(&self.copy.path(database)) {
            Ok(found) => self.claim(what, found == version, &format!("it is version {found}")),
            Err(error) => self.claim(what, false, &format!("{error:#}")),
        }
    }

    /// The version of the package that is tried.
    fn newest(&self) -> String {
        self.sh("dpkg-deb --field /new.deb Version").said.trim().to_owned()
    }
}
