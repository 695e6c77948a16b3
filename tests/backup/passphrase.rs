//! Where passphrases come from.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::PATIENCE;
use crate::house::{House, PASSPHRASE};

/// Runs `kith` on a terminal of its own. Each text of `typed` is typed once its prompt is there and the terminal shows no
/// typing any more. Gives what was to be seen, and whether it ended well.
fn on_a_terminal(house: &House, args: &[&str], typed: &[(&str, &str)]) -> (String, bool) {
    let quoted: Vec<String> = house.arguments(args).iter().map(|arg| format!("'{arg}'")).collect();
    let line = format!("tty; {} {}", env!("CARGO_BIN_EXE_kith"), quoted.join(" "));
    let mut child = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .current_dir(house.desk.path(""))
        .env("KITH_STATE", house.state())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keyboard = child.stdin.take().unwrap();
    let mut screen = child.stdout.take().unwrap();
    let mut seen = Vec::new();
    for (prompt, text) in typed {
        while !String::from_utf8_lossy(&seen).contains(prompt) {
            let mut some = [0; 256];
            let read = screen.read(&mut some).unwrap();
            assert!(read > 0, "no {prompt:?} in {}", String::from_utf8_lossy(&seen));
            seen.extend(&some[..read]);
        }
        let words = String::from_utf8_lossy(&seen).into_owned();
        let terminal = words.lines().next().unwrap().trim();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let settings = Command::new("stty").args(["-F", terminal, "-a"]).output().unwrap();
            let settings = String::from_utf8(settings.stdout).unwrap();
            if settings.split_whitespace().any(|word| word == "-echo") {
                break;
            }
            assert!(Instant::now() < deadline, "{terminal} shows what is typed: {settings}");
        }
        keyboard.write_all(text.as_bytes()).unwrap();
    }
    // The keyboard stays: an end of input would be typed, too.
    screen.read_to_end(&mut seen).unwrap();
    let is_well = child.wait().unwrap().success();
    (String::from_utf8_lossy(&seen).into_owned(), is_well)
}

const FIRST: &str = "at least 8 characters): ";
const AGAIN: &str = "The same again: ";

#[test]
fn it_is_asked_for_twice_and_not_shown() {
    let house = House::furnished();
    house.people([1]);
    let line = format!("{PASSPHRASE}\n");
    let typed = [(FIRST, line.as_str()), (AGAIN, &line)];
    let (seen, is_well) = on_a_terminal(&house, &["backup", "--ask", "b.kith"], &typed);
    assert!(is_well && !seen.contains(PASSPHRASE), "{seen}");
    let typed = [("Passphrase of the backup: ", line.as_str())];
    let (seen, is_well) = on_a_terminal(&house, &["restore", "--ask", "b.kith"], &typed);
    assert!(is_well && !seen.contains(PASSPHRASE), "{seen}");

    let typed = [(FIRST, "one passphrase\n"), (AGAIN, "another one\n")];
    let (seen, is_well) = on_a_terminal(&house, &["backup", "--ask", "c.kith"], &typed);
    assert!(!is_well && seen.contains("the two passphrases differ"), "{seen}");
    let (seen, is_well) = on_a_terminal(&house, &["backup", "--ask", "c.kith"], &[(FIRST, "short\n")]);
    assert!(!is_well && seen.contains("four or more random words"), "{seen}");
    assert_eq!(house.names("").iter().filter(|name| name.ends_with("kith")).count(), 1);
}

#[test]
fn without_a_terminal_the_way_out_is_named() {
    let house = House::furnished();
    house.people([1]);
    // A session of its own has no terminal.
    let said = house.shell("setsid -w \"$@\"", &["backup", "--ask", "b.kith"]);
    said.refused(1, &["terminal", "--passphrase-file FILE"]);
    house.desk.write("empty", b"\n");
    house
        .kith(&["backup", "--ask", "b.kith", "--passphrase-file", "empty"])
        .refused(1, &["the first line of empty is empty"])
        .tells(&["warning", "others may read empty"]);
    house
        .kith(&["backup", "--ask", "b.kith", "--passphrase-file", "nowhere"])
        .refused(1, &["can't read the passphrase file nowhere"]);
    assert!(!house.desk.path("b.kith").exists());
}
