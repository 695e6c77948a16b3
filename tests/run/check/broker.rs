//! The broker, broken one thing after the other.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use crate::broker::{Broker, free_port};
use crate::check::check;
use crate::daemon::{Home, camera};
use crate::tls::{Authority, configure};

#[test]
fn a_broker_that_is_not_there_says_its_mend() {
    let home = Home::new();
    home.configure(free_port(), "", &camera("shed", "dir:."));
    let report = check(&home, &["--only", "broker"]);
    report.has(
        "broker connection",
        "failed",
        &["nothing listens there", "sudo systemctl start mosquitto"],
    );
    let text =
        "node = \"box\"\n[mqtt]\nurl = \"mqtt://nosuchbroker.invalid\"\n[[camera]]\nid = \"a\"\nurl = \"dir:.\"\n";
    fs::write(home.path().join("kith.toml"), text).unwrap();
    let report = check(&home, &["--only", "broker"]);
    report.has(
        "broker name",
        "failed",
        &["the name leads nowhere", "getent hosts nosuchbroker.invalid"],
    );
    // Something that takes connections, and is no broker.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    home.configure(mute.local_addr().unwrap().port(), "", &camera("shed", "dir:."));
    check(&home, &["--only", "broker"]).has("broker connection", "failed", &["nothing answers", "`mqtt.url`"]);
}

#[test]
fn login_will_and_rights_are_tried() {
    let folder = tempfile::tempdir().unwrap();
    let passwords = folder.path().join("passwords");
    let rights = folder.path().join("rights");
    let made = Command::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(&passwords)
        .args(["kith", "right"])
        .status();
    assert!(
        made.expect("mosquitto_passwd is missing; `cargo xtask test` sets it up")
            .success()
    );
    let acl = |text: &str| {
        fs::write(&rights, text).unwrap();
        Broker::start_on(
            free_port(),
            &format!(
                "allow_anonymous false\npassword_file {}\nacl_file {}",
                passwords.display(),
                rights.display()
            ),
        )
    };
    let home = Home::new();
    let configure = |broker: &Broker, password: &str| {
        fs::write(home.path().join("secret"), format!("{password}\n")).unwrap();
        let rest = "username = \"kith\"\npassword_file = \"secret\"\n[home_assistant]\nenabled = true\n[requests]\n\
                    enabled = true\n[[camera]]\nid = \"shed\"\nurl = \"dir:.\"\n";
        home.configure(broker.port, "", rest);
        check(&home, &["--only", "broker"])
    };
    // The rights of deploy/mosquitto.acl, with requests.
    let all = "user kith\ntopic write kith/box/#\ntopic write homeassistant/device/+/config\n\
               topic read homeassistant/status\ntopic read kith/box/request/#\n";
    let broker = acl(all);
    let report = configure(&broker, "right");
    report.has("broker login", "ok", &["accepts us as kith", "MQTT 5 and a will"]);
    report.has(
        "broker rights",
        "ok",
        &[
            "kith/box/check",
            "homeassistant/device/box_check/config",
            "homeassistant/status",
        ],
    );
    let report = configure(&broker, "wrong");
    report.has(
        "broker login",
        "failed",
        &["refuses the user or the password", "mosquitto_passwd"],
    );
    assert!(!report.said.contains("wrong"), "{}", report.said);
    drop(broker);

    for (lacking, words) in [
        (
            "topic write kith/box/#",
            &["may not write kith/box/check", "`topic write kith/box/#` for kith"][..],
        ),
        (
            "topic write homeassistant/device/+/config",
            &[
                "may not write homeassistant/device/box_check/config",
                "`topic write homeassistant/device/+/config`",
            ],
        ),
    ] {
        let broker = acl(&all.replace(&format!("{lacking}\n"), ""));
        let report = configure(&broker, "right");
        report.has("broker rights", "failed", words);
        report.has("broker login", "ok", &["accepts us"]);
    }
    // A broker that keeps nothing can't keep the will.
    let broker = Broker::start_on(free_port(), "allow_anonymous true\nretain_available false");
    home.configure(broker.port, "", &camera("shed", "dir:."));
    check(&home, &["--only", "broker"]).has(
        "broker login",
        "failed",
        &["RetainNotSupported", "retain_available true"],
    );
}

#[test]
fn certificates_say_what_is_wrong_with_them() {
    let authority = Authority::new("Test authority");
    authority.sign("server", "localhost", false);
    authority.sign("named", "broker.example", false);
    authority.sign("old", "localhost", true);
    authority.sign_until("soon", "localhost", 9);
    let other = Authority::new("Another authority");
    let home = Home::new();
    let with = |broker: &Broker, authority: &Authority, keys: &str| {
        configure(&home, "localhost", broker.port, &authority.file("ca.pem"), keys);
        check(&home, &["--only", "broker"])
    };

    let broker = authority.broker("server", "");
    let report = with(&broker, &authority, "");
    report.has("broker tls", "ok", &["in order, until "]);
    report.has("broker login", "ok", &["accepts us"]);
    let report = with(&broker, &other, "");
    report.has(
        "broker tls",
        "failed",
        &["not signed by an authority", "set `mqtt.ca_file`"],
    );

    let broker = authority.broker("named", "");
    let report = with(&broker, &authority, "");
    report.has(
        "broker tls",
        "failed",
        &[
            "for another name",
            "the certificate is for broker.example",
            "`server_name = \"broker.example\"`",
        ],
    );
    let report = with(&broker, &authority, "server_name = \"broker.example\"\n");
    report.has("broker login", "ok", &["accepts us"]);

    let broker = authority.broker("old", "");
    with(&broker, &authority, "").has(
        "broker tls",
        "failed",
        &["has expired", "renew the broker's certificate"],
    );
    let broker = authority.broker("soon", "");
    with(&broker, &authority, "").has(
        "broker tls",
        "warning",
        &["expires on ", "renew the broker's certificate"],
    );

    let broker = authority.broker("server", "require_certificate true\n");
    authority.sign_until("client", "kith-box", 5);
    let keys = format!(
        "client_cert_file = \"{}\"\nclient_key_file = \"{}\"\n",
        authority.file("client.pem").display(),
        authority.file("client.key").display()
    );
    let report = with(&broker, &authority, &keys);
    report.has("broker login", "ok", &["accepts us"]);
    report.has(
        "broker our certificate",
        "warning",
        &["expires on ", "`mqtt.client_cert_file`"],
    );
    with(&broker, &authority, "").has(
        "broker tls",
        "failed",
        &["`mqtt.client_cert_file` and `mqtt.client_key_file`"],
    );

    // Not TLS at all, and a file that holds something else.
    let plain = Broker::start();
    let report = with(&plain, &authority, "");
    assert_eq!(report.code, Some(1), "{}", report.said);
    assert!(report.said.contains("Nothing was sent in the clear"), "{}", report.said);
    configure(&home, "localhost", plain.port, &authority.file("server.key"), "");
    let report = check(&home, &["--only", "broker"]);
    report.has("broker tls", "failed", &["mqtt.ca_file holds no certificate", "PEM"]);
}
