//! The broker over TLS: with the right certificates it works, with wrong ones nothing is said, not even in the clear.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use crate::broker::{Broker, Subscriber, free_port};
use crate::check::check;
use crate::clip::clip;
use crate::daemon::{Home, door};

/// An authority and what it signed, as PEM files in a folder.
pub(crate) struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Self { folder, issuer }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Signs a certificate for `host`; `NAME.pem` and `NAME.key`.
    pub(crate) fn sign(&self, name: &str, host: &str, expired: bool) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, host);
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        self.write(name, &key, &params);
    }

    /// As [`Self::sign`], for a certificate that expires in so many days.
    pub(crate) fn sign_until(&self, name: &str, host: &str, days: i64) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let last = jiff::ZonedDateTime::now()
            .checked_add(jiff::Span::new().days(days))
            .unwrap();
        let (month, day) = (last.month().unsigned_abs(), last.day().unsigned_abs());
        params.not_after = date_time_ymd(i32::from(last.year()), month, day);
        self.write(name, &key, &params);
    }

    fn write(&self, name: &str, key: &KeyPair, params: &CertificateParams) {
        let certificate = params.signed_by(key, &self.issuer).unwrap();
        fs::write(self.file(&format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    /// A mosquitto that shows the certificate `name`, with `more` lines for its TLS listener.
    pub(crate) fn broker(&self, name: &str, more: &str) -> Broker {
        let lines = format!(
            "allow_anonymous true\ncafile {}\ncertfile {}\nkeyfile {}\n{more}",
            self.file("ca.pem").display(),
            self.file(&format!("{name}.pem")).display(),
            self.file(&format!("{name}.key")).display(),
        );
        Broker::start_on(free_port(), &lines)
    }
}

/// A configuration for `mqtts://HOST:PORT` with further keys of `[mqtt]`.
pub(crate) fn configure(home: &Home, host: &str, port: u16, ca: &Path, keys: &str) {
    let text = format!(
        "node = \"box\"\n[mqtt]\nurl = \"mqtts://{host}:{port}\"\nca_file = \"{}\"\n{keys}\n{}",
        ca.display(),
        door(&clip(&[], 0.0))
    );
    fs::write(home.path().join("kith.toml"), text).unwrap();
}

#[test]
fn the_daemon_works_over_tls_with_a_certificate_of_its_own() {
    let authority = Authority::new("Test authority");
    authority.sign("server", "localhost", false);
    authority.sign("client", "kith-box", false);
    let plain = free_port();
    let broker = authority.broker(
        "server",
        &format!("require_certificate true\nlistener {plain} 127.0.0.1\n"),
    );
    let home = Home::new();
    let keys = format!(
        "client_cert_file = \"{}\"\nclient_key_file = \"{}\"\n",
        authority.file("client.pem").display(),
        authority.file("client.key").display()
    );
    configure(&home, "localhost", broker.port, &authority.file("ca.pem"), &keys);
    let subscriber = Subscriber::to(plain);
    assert!(home.run().wait().success());
    let heard = subscriber.wait("the farewell", |heard| {
        heard.iter().any(|m| m.is("kith/box/status", "offline"))
    });
    assert!(heard.iter().any(|m| m.is("kith/box/status", "online")));

    // The same broker without a certificate, and with another authority's.
    configure(&home, "localhost", broker.port, &authority.file("ca.pem"), "");
    check(&home, &["--only", "broker"]).has("broker tls", "failed", &["mqtt.client_cert_file"]);
    let other = Authority::new("Another authority");
    other.sign("client", "kith-box", false);
    let keys = format!(
        "client_cert_file = \"{}\"\nclient_key_file = \"{}\"\n",
        other.file("client.pem").display(),
        other.file("client.key").display()
    );
    configure(&home, "localhost", broker.port, &authority.file("ca.pem"), &keys);
    check(&home, &["--only", "broker"]).has("broker tls", "failed", &["mqtt.client_cert_file"]);
}

/// Whatever listens there, the first bytes are TLS's, connection after connection.
#[test]
fn there_is_no_fallback_to_plain_text() {
    let authority = Authority::new("Test authority");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let home = Home::new();
    let password = home.path().join("password");
    fs::write(&password, "hunter2\n").unwrap();
    let keys = format!("username = \"kith\"\npassword_file = \"{}\"\n", password.display());
    configure(&home, "localhost", port, &authority.file("ca.pem"), &keys);
    let listening = thread::spawn(move || {
        let mut first_bytes = Vec::new();
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = vec![0; 4096];
            let count = stream.read(&mut bytes).unwrap();
            bytes.truncate(count);
            first_bytes.push(bytes);
        }
        first_bytes
    });
    let daemon = home.run();
    daemon.wait_for_log("can't connect to the broker");
    for bytes in listening.join().unwrap() {
        // A handshake record of TLS.
        assert_eq!(bytes[..2], [0x16, 0x03], "{bytes:?}");
        assert!(!bytes.windows(4).any(|window| window == b"MQTT" || window == b"kith"));
    }
    drop(daemon);
}
