//! A real child, under the real limits, tries what it must not do.

use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};
use std::{fs, thread};

use super::*;

/// Where the child finds out that it is the child, and the port that it may connect to.
const CHILD: &str = "KITH_TEST_SANDBOXED_PORT";

/// Runs `program` under the limits for `needs`.
#[expect(unsafe_code, reason = "as the decoder's own start")]
fn run(needs: &Needs, command: &mut Command) -> Output {
    let (sandbox, lacking) = Sandbox::new(needs).unwrap();
    assert!(lacking.is_empty(), "this kernel lacks {lacking:?}");
    // SAFETY: `apply` makes system calls only.
    unsafe { command.pre_exec(move || sandbox.apply()) };
    command.output().unwrap()
}

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Not a test by itself: what the child does. Prints a line for each thing that worked.
#[test]
#[ignore = "the other tests run it under the limits"]
#[expect(unsafe_code, reason = "the system calls that are tried have no safe form")]
fn tries_everything() {
    let Ok(allowed) = env::var(CHILD) else { return };
    let allowed: u16 = allowed.parse().unwrap();
    let worked = |what: &str, did: bool| println!("{what}: {}", if did { "worked" } else { "refused" });
    worked("read a password file", fs::read("/etc/passwd").is_ok());
    worked("list the root", fs::read_dir("/").is_ok());
    let file = env::temp_dir().join(format!("kith-sandbox-{}", std::process::id()));
    worked("write a file", fs::write(&file, "x").is_ok());
    let _ = fs::remove_file(&file);
    worked("run a program", Command::new("/bin/true").status().is_ok());
    worked(
        "connect elsewhere",
        TcpStream::connect(("127.0.0.1", 22_222)).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused),
    );
    worked(
        "connect to the camera",
        TcpStream::connect(("127.0.0.1", allowed)).is_ok(),
    );
    worked("listen", TcpListener::bind("127.0.0.1:0").is_ok());
    worked("talk to services", std::os::unix::net::UnixDatagram::unbound().is_ok());
    worked("start a thread", thread::Builder::new().spawn(|| ()).is_ok());
    let calls = [
        ("trace", libc::SYS_ptrace),
        ("mount", libc::SYS_mount),
        ("unshare", libc::SYS_unshare),
        ("keys", libc::SYS_keyctl),
        ("bpf", libc::SYS_bpf),
        ("load a module", libc::SYS_finit_module),
        ("a file in memory", libc::SYS_memfd_create),
        ("io_uring", libc::SYS_io_uring_setup),
        ("another's memory", libc::SYS_process_vm_readv),
    ];
    for (what, number) in calls {
        // SAFETY: the first argument is valid for none of them, and the others are no places in memory.
        let result = unsafe { libc::syscall(number, -1, 0, 0, 0, 0) };
        let error = io::Error::last_os_error().raw_os_error();
        worked(what, result >= 0 || error != Some(libc::EPERM));
    }
    // SAFETY: the child leaves at once.
    let process = unsafe { libc::fork() };
    if process == 0 {
        // SAFETY: ends the process without running anything.
        unsafe { libc::_exit(0) };
    }
    worked("start a process", process > 0);
}

fn trial(needs: Needs, port: u16) -> String {
    let test = env::current_exe().unwrap();
    let needs = Needs {
        program: test.clone(),
        ..needs
    };
    let mut command = Command::new(&test);
    command
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "camera::sandbox::tests::tries_everything",
        ])
        .env(CHILD, port.to_string());
    let output = run(&needs, &mut command);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

/// What worked, in the order in which it was tried.
fn what_worked(said: &str) -> Vec<&str> {
    assert!(said.contains("start a process: "), "it did not get to its end: {said}");
    said.lines().filter_map(|line| line.strip_suffix(": worked")).collect()
}

#[test]
fn a_decoder_of_a_file_can_do_nothing_but_think() {
    let (_listener, port) = listener();
    assert_eq!(what_worked(&trial(Needs::default(), port)), ["start a thread"]);
}

#[test]
fn a_decoder_of_a_network_camera_reaches_the_camera_only() {
    let (_listener, port) = listener();
    let needs = Needs {
        port: Some(port),
        ..Needs::default()
    };
    assert_eq!(
        what_worked(&trial(needs, port)),
        ["connect to the camera", "start a thread"]
    );
}

#[test]
fn without_limits_the_trial_does_work() {
    let (_listener, port) = listener();
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "camera::sandbox::tests::tries_everything",
        ])
        .env(CHILD, port.to_string());
    let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
    for what in [
        "read a password file",
        "write a file",
        "run a program",
        "connect to the camera",
        "listen",
        "start a process",
    ] {
        assert!(said.contains(&format!("{what}: worked")), "{what} in {said}");
    }
}

#[test]
fn ffmpeg_reads_its_clip_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (clip, other) = (folder.path().join("clip.mp4"), folder.path().join("other.mp4"));
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc=s=64x48:r=10:d=1"])
        .arg(&clip)
        .output()
        .unwrap();
    assert!(made.status.success());
    fs::copy(&clip, &other).unwrap();
    let needs = Needs {
        program: find("ffmpeg").unwrap(),
        file: Some(clip.clone()),
        ..Needs::default()
    };
    let ffmpeg = |arguments: &[&str]| {
        let mut command = Command::new(&needs.program);
        run(&needs, command.args(["-v", "error", "-y"]).args(arguments))
    };
    let (clip, other) = (clip.to_str().unwrap(), other.to_str().unwrap());
    let good = ffmpeg(&["-i", clip, "-f", "rawvideo", "-pix_fmt", "gray", "pipe:1"]);
    assert_eq!(
        good.stdout.len(),
        64 * 48 * 10,
        "{}",
        String::from_utf8_lossy(&good.stderr)
    );
    let bad = ffmpeg(&["-i", other, "-f", "null", "-"]);
    assert!(String::from_utf8_lossy(&bad.stderr).contains("Permission denied"));
    let written = folder.path().join("written.mp4");
    let bad = ffmpeg(&["-i", clip, written.to_str().unwrap()]);
    assert!(!bad.status.success() && !written.exists());
    let (_listener, port) = listener();
    let bad = ffmpeg(&["-i", &format!("tcp://127.0.0.1:{port}")]);
    assert!(
        String::from_utf8_lossy(&bad.stderr).contains("not permitted"),
        "{}",
        String::from_utf8_lossy(&bad.stderr)
    );
}
