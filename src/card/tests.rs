use std::os::unix::fs::PermissionsExt;

use super::*;

/// A machine in a folder; `smi` is the script of its `nvidia-smi`.
fn machine(files: &[(&str, &str)], smi: &str) -> (tempfile::TempDir, Places) {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    for (name, text) in files {
        fs::create_dir_all(place(name).parent().unwrap()).unwrap();
        fs::write(place(name), text).unwrap();
    }
    if !smi.is_empty() {
        fs::write(place("nvidia-smi"), format!("#!/bin/sh\n{smi}\n")).unwrap();
        fs::set_permissions(place("nvidia-smi"), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let places = Places {
        smi: place("nvidia-smi"),
        device_tree: place("device-tree"),
        tegra_release: place("nv_tegra_release"),
        chip: place("soc0"),
        driver: place("driver"),
    };
    (folder, places)
}

fn first(places: &Places) -> Option<Card> {
    Card::look(places, &Choice::First)
}

#[test]
fn a_machine_without_a_card_has_none() {
    assert_eq!(first(&machine(&[], "").1), None);
    // The program is there, the card isn't.
    assert_eq!(first(&machine(&[], "echo No devices were found; exit 6").1), None);
    // Other boards.
    let pi = [
        ("device-tree/model", "Raspberry Pi 5 Model B\0"),
        ("soc0/machine", "Some board\n"),
    ];
    assert_eq!(first(&machine(&pi, "").1), None);
}

#[test]
fn the_drivers_program_describes_the_first_card() {
    let (_folder, places) = machine(
        &[],
        "echo 'GPU-1a, NVIDIA GeForce RTX 3060, 12288, 550.90.07, 8.6'; echo 'GPU-2b, Another, 1, 2, 3'",
    );
    let card = first(&places).unwrap();
    assert_eq!(card.to_string(), "NVIDIA GeForce RTX 3060, 12288 MiB, driver 550.90.07");
    assert_eq!(card.compute_capability.as_deref(), Some("8.6"));
    // What it does not know is in brackets.
    let (_folder, places) = machine(&[], "echo '[N/A], Some card, [N/A], 540.4.0, [N/A]'");
    let card = first(&places).unwrap();
    assert_eq!(
        (card.memory_mib, card.compute_capability, card.uuid),
        (None, None, None)
    );
}

#[test]
fn the_card_is_the_one_that_cuda_takes_first() {
    for (visible, choice) in [
        (None, Choice::First),
        (Some("1"), Choice::Index(1)),
        (Some(" 2,0"), Choice::Index(2)),
        (Some("GPU-2b,GPU-1a"), Choice::Uuid("GPU-2b".to_owned())),
        (Some(""), Choice::Hidden),
        (Some("-1,0"), Choice::Hidden),
        (Some("MIG-5e,0"), Choice::Hidden),
    ] {
        assert_eq!(Choice::of(visible), choice, "{visible:?}");
    }
    // With --id the program tells of that one alone, and fails for one that is not there.
    let smi = "case $1 in --id=0) ;; --id=1) one=2b;; --id=*) exit 6;; esac\n\
               [ -n \"$one\" ] || echo 'GPU-1a, Slow, 1, 550.1, 5.0'\n\
               [ $1 = --id=0 ] || echo 'GPU-2b, Fast, 2, 550.1, 9.0'";
    let gpu = |uuid| format!("Model: \t Of the kernel\nGPU UUID: \t {uuid}\n");
    let (one, two) = (gpu("GPU-1a-11"), gpu("GPU-2b-22"));
    let files = [
        ("driver/gpus/0000:01:00.0/information", one.as_str()),
        ("driver/gpus/0000:02:00.0/information", two.as_str()),
    ];
    let uuid = |places: &Places, visible| Card::look(places, &Choice::of(visible)).and_then(|card| card.uuid);
    let (_smi, by_smi) = machine(&[], smi);
    let (_kernel, by_kernel) = machine(&files, "");
    for (visible, found) in [
        (None, Some("GPU-1a")),
        (Some("0"), Some("GPU-1a")),
        (Some("1,0"), Some("GPU-2b")),
        (Some("GPU-2b"), Some("GPU-2b")),
        (Some("GPU-2"), Some("GPU-2b")),
        (Some("GPU-3c"), None),
        (Some("5"), None),
        (Some(""), None),
    ] {
        assert_eq!(uuid(&by_smi, visible).as_deref(), found, "nvidia-smi, {visible:?}");
        let found_by_kernel = uuid(&by_kernel, visible);
        let begins_so = found_by_kernel.as_deref().and_then(|uuid| uuid.get(..6));
        assert_eq!(begins_so, found, "the driver's files, {visible:?}");
    }
}

#[test]
fn a_driver_that_hangs_is_given_up() {
    let child = Command::new("sleep").arg("600").stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(answer_within(child, Duration::from_millis(50)), None);
}

#[test]
fn without_the_program_the_drivers_files_say_the_name() {
    let files = [
        (
            "driver/gpus/0000:01:00.0/information",
            "Model: \t\t NVIDIA H200\nIRQ: 5\n",
        ),
        (
            "driver/version",
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.90.07  Fri May 31\nGCC version: 12.2.0\n",
        ),
    ];
    let card = first(&machine(&files, "").1).unwrap();
    assert_eq!(card.to_string(), "NVIDIA H200, driver 550.90.07");
}

#[test]
fn a_jetson_is_described_by_its_device_tree() {
    let files = [
        ("device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit\0"),
        ("nv_tegra_release", "# R36 (release), REVISION: 4.0, GCID: 37537400\n"),
    ];
    let smi = "echo '[N/A], Orin (nvgpu), [N/A], 540.4.0, 8.7'";
    let card = first(&machine(&files, smi).1).unwrap();
    assert_eq!(
        card.to_string(),
        "NVIDIA Jetson Orin Nano Developer Kit, driver R36.4.0"
    );
}

#[test]
fn a_jetson_is_known_in_a_container_without_device_tree() {
    let release = ("nv_tegra_release", "# R36 (release), REVISION: 4.0, GCID: 37537400\n");
    let machine_of_chip = ("soc0/machine", "NVIDIA Jetson Orin NX\n");
    let said = |files: &[(&str, &str)]| first(&machine(files, "").1).map(|card| card.to_string());
    assert_eq!(
        said(&[release, machine_of_chip]).as_deref(),
        Some("NVIDIA Jetson Orin NX, driver R36.4.0")
    );
    assert_eq!(
        said(&[machine_of_chip]).as_deref(),
        Some("NVIDIA Jetson Orin NX, driver unknown")
    );
    assert_eq!(said(&[release]).as_deref(), Some("NVIDIA Jetson, driver R36.4.0"));
}
