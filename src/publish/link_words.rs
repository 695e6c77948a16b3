//! Why there is no connection, for people.

use std::error::Error;
use std::io;

use rumqttc::mqttbytes::v5::ConnectReturnCode;
use rumqttc::tokio_rustls::rustls::{AlertDescription, CertificateError, Error as TlsError};
use rumqttc::{ConnectionError, StateError, mqttbytes};

/// What went wrong and what to do about it.
pub fn in_words(error: &ConnectionError) -> String {
    if let Some(error) = tls_error(below(error)) {
        return tls_in_words(error);
    }
    match error {
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
        ) => "the broker refuses the user or the password; look at mqtt.username and mqtt.password_file".to_owned(),
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::RefusedProtocolVersion | ConnectReturnCode::UnsupportedProtocolVersion,
        ) => "the broker does not speak MQTT 5".to_owned(),
        ConnectionError::ConnectionRefused(code) => format!("the broker refuses the connection: {code:?}"),
        ConnectionError::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            "nothing listens there (connection refused); is the broker running, and mqtt.url right?".to_owned()
        }
        ConnectionError::Timeout(_) => "the broker does not answer; is mqtt.url right?".to_owned(),
        ConnectionError::Tls(error) => format!(
            "TLS failed: {error}; is it the broker's TLS port, and mqtt.ca_file right? Nothing was sent in the clear"
        ),
        other => other.to_string(),
    }
}

/// Where to look for the cause: one of the client's errors does not name its source.
pub(super) fn below(error: &ConnectionError) -> &(dyn Error + 'static) {
    match error {
        ConnectionError::MqttState(StateError::Deserialization(mqttbytes::Error::Io(error))) => error,
        other => other,
    }
}

/// The TLS library's error somewhere below.
pub(super) fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a TlsError> {
    if let Some(found) = error.downcast_ref::<TlsError>() {
        return Some(found);
    }
    // An I/O error hides what it was made from from `source`.
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    match inner {
        Some(inner) => tls_error(inner),
        None => error.source().and_then(tls_error),
    }
}

/// What went wrong with certificates, and what to do about it.
pub(super) fn tls_in_words(error: &TlsError) -> String {
    let what = match error {
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "the broker's certificate is not signed by an authority that we trust; mqtt.ca_file names the right one"
        }
        TlsError::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "the broker's certificate has expired, or this machine's clock is wrong"
        }
        TlsError::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            "the broker's certificate is not valid yet, or this machine's clock is wrong"
        }
        TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the broker's certificate is for another name; write that name into mqtt.url or mqtt.server_name",
        TlsError::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::HandshakeFailure,
        ) => "the broker does not take our certificate; look at mqtt.client_cert_file and mqtt.client_key_file",
        TlsError::InvalidMessage(_) => "what listens there does not speak TLS; is it the broker's TLS port?",
        _ => "TLS failed",
    };
    format!("{what} ({error}). Nothing was sent in the clear")
}
