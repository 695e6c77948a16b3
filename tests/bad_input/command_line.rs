//! Mistakes on the command line, and output that has nowhere to go; completions and manual pages.

use std::fs;
use std::path::Path;

use crate::given::photos;
use crate::kith::Desk;

/// Clap's exit code for a command line that can't be understood.
const USAGE: i32 = 2;

#[test]
fn mistakes_on_the_command_line_are_told_with_what_would_be_right() {
    let desk = Desk::new();
    for (args, words) in [
        (&["recognise", "a.jpg"][..], &["recognise"][..]),
        (&["detect"], &["required"]),
        (&["embed", "--json"], &["required"]),
        (&["detect", "--min-face", "0", "a.jpg"], &["--min-face", "12..=4096"]),
        (&["detect", "--min-face", "forty", "a.jpg"], &["--min-face", "forty"]),
        (&["detect", "--threads", "0", "a.jpg"], &["--threads", "from 1 to 128"]),
        (
            &["embed", "--threads", "1000000", "a.jpg"],
            &["--threads", "from 1 to 128"],
        ),
        (&["identify", "--threads", "-1", "a.jpg"], &["-1"]),
        (&["detect", "--provider", "gpu", "a.jpg"], &["gpu", "--provider"]),
        (&["bench", "--size", "720p"], &["720p", "WIDTHxHEIGHT"]),
        (&["completions", "tcsh"], &["tcsh"]),
    ] {
        let said = desk.kith(args);
        assert_eq!(said.code, Some(USAGE), "{args:?}: {said:#?}");
        for word in words {
            assert!(said.err.contains(word), "no {word} for {args:?}: {said:#?}");
        }
    }
    desk.kith(["detect", "--provider", "gpu", "a.jpg"])
        .tells(&["possible values", "cuda", "cpu"]);
    assert!(!desk.path("state").exists());
}

/// `photos` several times over, so that there is more to write than a pipe holds.
fn detect_much() -> Vec<std::path::PathBuf> {
    let mut args = vec!["detect".into(), "--json".into(), "--min-face".into(), "200".into()];
    args.extend(std::iter::repeat_n(photos().join("biden.jpg"), 400));
    args
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let desk = Desk::new();
    let pipe = "set -o pipefail; \"$@\" | head -1";
    let said = desk.shell(pipe, detect_much()).ok();
    assert_eq!((said.out.lines().count(), said.err.as_str()), (1, ""));
    for args in [
        &["people"][..],
        &["people", "--json"],
        &["man"],
        &["completions", "bash"],
    ] {
        // The reader is gone before anything is written.
        let said = desk.shell("set -o pipefail; (sleep 0.2; \"$@\") | true", args).ok();
        assert_eq!(said.err, "", "{args:?}");
    }
}

#[test]
fn output_that_can_not_be_written_is_an_error() {
    let desk = Desk::new();
    for args in [
        &["people"][..],
        &["people", "--json"],
        &["man"],
        &["completions", "bash"],
        &["check"],
    ] {
        desk.shell("\"$@\" > /dev/full", args)
            .refused(1, &["kith: No space left on device"]);
    }
    let photo = photos().join("biden.jpg");
    for command in ["detect", "embed", "identify"] {
        let args = [Path::new(command), &photo];
        desk.shell("\"$@\" > /dev/full", args)
            .refused(1, &["kith: No space left on device"]);
    }
    // Nobody can be told, but the exit code tells.
    let said = desk.shell("\"$@\" 2> /dev/full", ["detect", "missing.jpg"]);
    assert_eq!(said.code, Some(1), "{said:#?}");
}

#[test]
fn completions_for_each_shell_know_the_commands() {
    let desk = Desk::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let said = desk.kith(["completions", shell]).ok();
        for word in ["enroll", "identify", "completions", "min-face"] {
            assert!(said.out.contains(word), "no {word} for {shell}");
        }
    }
    let script = desk.write("kith.bash", desk.kith(["completions", "bash"]).ok().out.as_bytes());
    let ask = "source \"$2\"; COMP_WORDS=(kith det); COMP_CWORD=1; _kith kith det kith; echo \"${COMPREPLY[*]}\"";
    assert_eq!(desk.shell(ask, [script]).ok().out.trim(), "detect");
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let desk = Desk::new();
    let main = desk.kith(["man"]).ok().out;
    assert!(
        main.contains(".TH kith 1") && main.contains("kith\\-detect(1)"),
        "{main}"
    );
    desk.kith(["man", "pages/man1"]).ok();
    let mut pages: Vec<String> = fs::read_dir(desk.path("pages/man1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    for page in [
        "kith.1",
        "kith-detect.1",
        "kith-people.1",
        "kith-people-export.1",
        "kith-run.1",
    ] {
        assert!(pages.iter().any(|name| name == page), "no {page} in {pages:?}");
    }
    assert!(!pages.iter().any(|name| name.contains("calibrate")), "{pages:?}");
    let detect = fs::read_to_string(desk.path("pages/man1/kith-detect.1")).unwrap();
    for part in ["kith\\-detect", "min\\-face", "\\-\\-state", "Example"] {
        assert!(detect.contains(part), "no {part} in {detect}");
    }
    desk.write("file", b"");
    desk.kith(["man", "file"]).refused(1, &["can't make the folder file"]);
}
