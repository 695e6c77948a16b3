//! How systemd itself judges the unit, and that nobody has to guess why a setting is there.

use std::fs;
use std::process::{Command, Output};

use crate::daemon::said;
use crate::unit::{Variant, settings, text};

/// Settings that explain themselves.
const SAY_NOTHING: [&str; 3] = ["Description", "Documentation", "WantedBy"];

/// The folder that systemd reads: the unit, and the drop-in of the variant.
fn installed(unit: &str, variant: Variant) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("kith.service"), unit).unwrap();
    if variant == Variant::Cpu {
        let drop_ins = folder.path().join("kith.service.d");
        fs::create_dir(&drop_ins).unwrap();
        fs::write(drop_ins.join("cpu.conf"), text("cpu.conf")).unwrap();
    }
    folder
}

fn analyze(arguments: &[&str], folder: &tempfile::TempDir) -> Output {
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(arguments).arg(folder.path().join("kith.service"));
    let done = analyze.output();
    done.expect("systemd-analyze is missing; `cargo xtask test` sets it up")
}

/// `systemd-analyze security`: 0 is locked up, 10 is open.
fn exposure(unit: &str, variant: Variant) -> f64 {
    let done = analyze(&["security", "--offline=true", "--no-pager"], &installed(unit, variant));
    let text = said(&done);
    let (_, rest) = text
        .split_once("exposure level for kith.service: ")
        .unwrap_or_else(|| panic!("{text}"));
    rest.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn the_exposure_is_at_most_2_0_with_a_card_and_1_5_without() {
    let unit = text("kith.service");
    let (gpu, cpu) = (exposure(&unit, Variant::Gpu), exposure(&unit, Variant::Cpu));
    println!("exposure: {gpu} with a card, {cpu} without");
    assert!(gpu <= 2.0, "{gpu}");
    assert!(cpu <= 1.5, "{cpu}");
    // The judge is awake.
    let open = unit
        .replace("ProtectSystem=strict", "")
        .replace("NoNewPrivileges=yes", "");
    assert!(exposure(&open, Variant::Gpu) > gpu);
}

#[test]
fn systemd_reads_the_unit_without_a_complaint() {
    // The program where this test has it, and no man page yet.
    let unit = text("kith.service")
        .replace("/usr/bin/kith", env!("CARGO_BIN_EXE_kith"))
        .replace("Documentation=man:kith(1)\n", "");
    for variant in [Variant::Gpu, Variant::Cpu] {
        let done = analyze(&["verify", "--man=no"], &installed(&unit, variant));
        assert!(done.status.success(), "{}", said(&done));
        // Of systemd 254; the unit says so.
        let newer = |line: &&str| line.contains("'RestartSteps'") || line.contains("'RestartMaxDelaySec'");
        let errors = String::from_utf8_lossy(&done.stderr).into_owned();
        let ours: Vec<&str> = errors.lines().filter(|line| line.contains("kith")).collect();
        let complaints: Vec<&&str> = ours.iter().filter(|line| !newer(line)).collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
    let wrong = unit.replace("Type=notify", "Type=notfy");
    let done = analyze(&["verify", "--man=no"], &installed(&wrong, Variant::Gpu));
    assert!(said(&done).contains("notfy"), "the judge is asleep: {}", said(&done));
}

#[test]
fn every_setting_stands_below_its_reason() {
    for file in ["kith.service", "cpu.conf"] {
        let text = text(file);
        let mut reason = false;
        let mut unexplained = Vec::new();
        for line in text.lines() {
            if line.starts_with('#') {
                // A setting that is an example explains nothing.
                reason |= !line.contains('=') || line.contains(' ');
            } else if line.is_empty() || line.starts_with('[') {
                reason = false;
            } else if !reason
                && !["Description", "Documentation", "WantedBy"]
                    .iter()
                    .any(|key| line.starts_with(key))
            {
                unexplained.push(line);
            }
        }
        assert!(unexplained.is_empty(), "{file}: {unexplained:#?}");
    }
}

#[test]
fn the_reference_names_every_setting() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/systemd.md")).unwrap();
    let all = settings(&(text("kith.service") + &text("cpu.conf")));
    let limits = all.iter().filter(|(key, _)| !SAY_NOTHING.contains(&key.as_str()));
    let keys = limits.map(|(key, _)| format!("`{key}"));
    let missing: Vec<String> = keys.filter(|key| !page.contains(key)).collect();
    assert!(missing.is_empty(), "docs/reference/systemd.md lacks {missing:?}");
}

#[test]
fn the_user_is_made_by_sysusers_with_the_groups_of_cards_and_webcams() {
    let root = tempfile::tempdir().unwrap();
    let etc = root.path().join("etc");
    fs::create_dir(&etc).unwrap();
    fs::write(etc.join("group"), "video:x:44:\n").unwrap();
    let made = Command::new("systemd-sysusers")
        .arg(format!("--root={}", root.path().display()))
        .arg(crate::unit::file("kith.sysusers"))
        .output()
        .expect("systemd-sysusers is missing; it comes with systemd");
    assert!(made.status.success(), "{}", said(&made));
    let passwd = fs::read_to_string(etc.join("passwd")).unwrap();
    assert!(
        passwd
            .lines()
            .any(|line| line.starts_with("kith:x:") && line.contains(":/var/lib/kith:")),
        "{passwd}"
    );
    let group = fs::read_to_string(etc.join("group")).unwrap();
    for name in ["video", "render"] {
        let has = group
            .lines()
            .any(|line| line.starts_with(&format!("{name}:")) && line.ends_with(":kith"));
        assert!(has, "{group}");
    }
}
