//! The broker, asked under another name than the daemon's.

use std::io;

use jiff::{SignedDuration, Timestamp};
use rumqttc::mqttbytes::v5::ConnectReturnCode;
use rumqttc::tokio_rustls::rustls::{CertificateError, Error as TlsError};

use super::{Context, Finding, Subject};
use crate::config::{MqttSettings, Settings};
use crate::daemon::node_id;
use crate::publish::{Answers, Questions, Topics, Trouble, certificate_until, probe};

/// A certificate that expires within this is worth a warning.
const SOON: SignedDuration = SignedDuration::from_hours(21 * 24);

pub(super) fn check(settings: &Settings, context: &Context) -> Vec<Finding> {
    let mqtt = &settings.mqtt;
    let questions = questions(settings, context);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let answers = match runtime {
        Ok(runtime) => {
            let answers = runtime.block_on(probe(mqtt, &questions));
            // A name server that doesn't answer is not waited for.
            runtime.shutdown_background();
            answers
        }
        Err(error) => return vec![Finding::not_checked(Subject::Broker, "", error.to_string())],
    };
    findings(mqtt, &questions, &answers, Timestamp::now())
}

/// What the daemon will write and read with this configuration.
fn questions(settings: &Settings, context: &Context) -> Questions {
    let node = node_id(settings.node.as_deref(), &context.state);
    let topics = Topics::new(&settings.mqtt.base_topic, &node);
    let mut write = vec![(topics.node("check"), "kith check")];
    let mut read = Vec::new();
    if let Some(home_assistant) = &settings.home_assistant {
        // An empty announcement of a device that nobody knows is nothing to Home Assistant.
        write.push((
            format!("{}/device/{node}_check/config", home_assistant.discovery_prefix),
            "",
        ));
        read.push(home_assistant.birth_topic.clone());
    }
    if settings.requests {
        read.push(topics.node("request/#"));
    }
    Questions { node, write, read }
}

fn findings(mqtt: &MqttSettings, questions: &Questions, answers: &Answers, now: Timestamp) -> Vec<Finding> {
    let place = format!("mqtt{}://{}:{}", if mqtt.tls { "s" } else { "" }, mqtt.host, mqtt.port);
    let mut findings = Vec::new();
    if let Some(until) = answers.secured {
        findings.push(certificate("its", until, now));
    }
    if let Some((pem, _)) = &mqtt.client_pem {
        findings.push(certificate("our", certificate_until(pem), now));
    }
    if answers.accepted {
        let who = mqtt
            .login
            .as_ref()
            .map_or("without a login".to_owned(), |(user, _)| format!("as {user}"));
        let seen = format!("{place} accepts us {who}, with MQTT 5 and a will");
        findings.push(Finding::ok(Subject::Broker, "login", seen));
    }
    for refused in &answers.refused {
        let verb = if refused.write { "write" } else { "read" };
        let user = mqtt
            .login
            .as_ref()
            .map_or("an anonymous client", |(user, _)| user.as_str());
        let filter = filter(&refused.topic, mqtt, questions);
        findings.push(Finding::failed(
            Subject::Broker,
            "rights",
            format!("{user} may not {verb} {} ({})", refused.topic, refused.reason),
            format!(
                "allow it in the broker's list of rights: `topic {verb} {filter}` for {user} in Mosquitto's acl_file; \
                     deploy/mosquitto.acl is an example"
            ),
        ));
    }
    match &answers.trouble {
        Some(trouble) => {
            let about = match trouble {
                Trouble::NoAddress(_) => "name",
                Trouble::NoConnection(_) => "connection",
                Trouble::OwnFiles(_) | Trouble::Tls(_) => "tls",
                Trouble::Refused(_) => "login",
                Trouble::Other(_) => "",
            };
            let seen = format!("{place}: {trouble}");
            findings.push(Finding::failed(Subject::Broker, about, seen, mend(mqtt, trouble)));
        }
        None if answers.refused.is_empty() => {
            let may: Vec<&str> = questions.write.iter().map(|(topic, _)| topic.as_str()).collect();
            let mut seen = format!("may write {}", may.join(", "));
            if !questions.read.is_empty() {
                seen += &format!("; may subscribe to {}", questions.read.join(", "));
            }
            findings.push(Finding::ok(Subject::Broker, "rights", seen));
        }
        None => {}
    }
    findings
}

/// What to allow, so that not only the topic that was tried is.
fn filter(topic: &str, mqtt: &MqttSettings, questions: &Questions) -> String {
    let own = format!("{}/{}/", mqtt.base_topic, questions.node);
    match topic.rsplit_once("/device/") {
        _ if topic.starts_with(&own) && topic.ends_with("/check") => format!("{own}#"),
        Some((prefix, _)) => format!("{prefix}/device/+/config"),
        None => topic.to_owned(),
    }
}

/// `whose` is `its`, the broker's, or `our`.
fn certificate(whose: &str, until: Option<Timestamp>, now: Timestamp) -> Finding {
    let (about, renew) = match whose {
        "our" => ("our certificate", "renew the certificate of `mqtt.client_cert_file`"),
        _ => ("tls", "renew the broker's certificate, and let it read the new one"),
    };
    let Some(until) = until else {
        return Finding::ok(Subject::Broker, about, format!("{whose} certificate is in order"));
    };
    let day = until.strftime("%Y-%m-%d");
    if until < now {
        Finding::failed(
            Subject::Broker,
            about,
            format!("{whose} certificate has expired on {day}"),
            renew,
        )
    } else if until.duration_since(now) < SOON {
        let seen = format!("{whose} certificate expires on {day}; from then on there is no connection");
        Finding::warning(Subject::Broker, about, seen, renew)
    } else {
        Finding::ok(
            Subject::Broker,
            about,
            format!("{whose} certificate is in order, until {day}"),
        )
    }
}

fn mend(mqtt: &MqttSettings, trouble: &Trouble) -> String {
    let host = &mqtt.host;
    match trouble {
        Trouble::OwnFiles(_) => "correct the file that the message names: a certificate or key in PEM form".to_owned(),
        Trouble::NoAddress(_) => {
            format!("correct the host in `mqtt.url`, or write its IP address there (`getent hosts {host}` asks for it)")
        }
        Trouble::NoConnection(Some(error)) if error.kind() == io::ErrorKind::ConnectionRefused => format!(
            "start the broker (`sudo systemctl start mosquitto`), let it listen on {}, or correct the port in `mqtt.url`",
            if matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1") {
                "this port"
            } else {
                "more than its own machine"
            }
        ),
        Trouble::NoConnection(_) => {
            format!(
                "is {host} switched on, and does its firewall let port {} in? Otherwise correct `mqtt.url`",
                mqtt.port
            )
        }
        Trouble::Tls(error) => tls_mend(error),
        Trouble::Refused(code) => refused_mend(*code),
        Trouble::Other(_) => "look at the broker's log for this moment".to_owned(),
    }
}

fn refused_mend(code: ConnectReturnCode) -> String {
    match code {
        ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => {
            "correct `mqtt.username` and the file of `mqtt.password_file`, or give the broker this user: `mosquitto_passwd \
             FILE USER`"
        }
        ConnectReturnCode::RefusedProtocolVersion | ConnectReturnCode::UnsupportedProtocolVersion => {
            "use a broker that speaks MQTT 5, such as Mosquitto 2"
        }
        ConnectReturnCode::RetainNotSupported => "let the broker keep messages: `retain_available true` in mosquitto.conf",
        ConnectReturnCode::QoSNotSupported => "let the broker acknowledge messages: `max_qos 2` in mosquitto.conf",
        ConnectReturnCode::BadClientId | ConnectReturnCode::ClientIdentifierNotValid => {
            "let the broker take client ids that begin with `mqtt.client_id`"
        }
        _ => "look at the broker's log for this moment",
    }
    .to_owned()
}

fn tls_mend(error: &TlsError) -> String {
    match error {
        TlsError::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) => {
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            match names.first() {
                Some(name) => format!(
                    "the certificate is for {}: write that name into `mqtt.url`, or `server_name = \"{name}\"` into [mqtt]",
                    names.join(", ")
                ),
                None => "the certificate names no host: make one with a subject alternative name".to_owned(),
            }
        }
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "set `mqtt.ca_file` to the certificate of the authority that signed the broker's".to_owned()
        }
        TlsError::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => "renew the broker's certificate; if it should be valid, see the line about the clock".to_owned(),
        TlsError::AlertReceived(_) => {
            "set `mqtt.client_cert_file` and `mqtt.client_key_file` to a certificate that the broker's authority signed"
                .to_owned()
        }
        TlsError::InvalidMessage(_) => {
            "write the broker's TLS port into `mqtt.url` (usually 8883), or `mqtt://` if it speaks no TLS".to_owned()
        }
        _ => "look at the broker's log for this moment, and at `mqtt.ca_file`".to_owned(),
    }
}

/// `DnsName("broker.lan")` without what is around the name.
fn bare(name: &str) -> &str {
    name.split('"').nth(1).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::check::State;

    #[test]
    fn a_certificate_that_expires_soon_is_a_warning() {
        let now: Timestamp = "2026-11-29T12:00:00Z".parse().unwrap();
        for (until, state) in [
            (Some("2026-12-10T00:00:00Z"), State::Warning),
            (Some("2027-02-01T00:00:00Z"), State::Ok),
            (Some("2026-11-01T00:00:00Z"), State::Failed),
            (None, State::Ok),
        ] {
            let until = until.map(|text| text.parse().unwrap());
            assert_eq!(certificate("our", until, now).state, state, "{until:?}");
        }
    }
}
