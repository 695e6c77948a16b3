//! An MQTT broker inside of this process.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

/// Starts one on a free port of the loopback address and returns its URL once it listens.
///
/// # Errors
/// When no port is free or nobody listens there after a while.
pub(crate) fn start() -> anyhow::Result<String> {
    // The broker can't be asked which port it got, so the port is found before and, for an instant, given up.
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let mut broker = Broker::new(config(address));
    thread::Builder::new().name("broker".into()).spawn(move || {
        if let Err(error) = broker.start() {
            eprintln!("demo: the broker ended: {error}");
        }
    })?;
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match TcpStream::connect(address) {
            Ok(_) => return Ok(format!("mqtt://{address}")),
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("the broker does not listen on {address}"));
            }
            Err(_) => thread::yield_now(),
        }
    }
}

fn config(listen: SocketAddr) -> Config {
    let server = ServerSettings {
        name: "demo".into(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections: ConnectionSettings {
            connection_timeout_ms: 10_000,
            max_payload_size: 1024 * 1024,
            max_inflight_count: 100,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    };
    let router = RouterConfig {
        max_connections: 16,
        max_outgoing_packet_count: 200,
        max_segment_size: 10 * 1024 * 1024,
        max_segment_count: 4,
        custom_segment: None,
        initialized_filters: None,
        ..RouterConfig::default()
    };
    Config {
        id: 0,
        router,
        v4: None,
        v5: Some(HashMap::from([("demo".to_string(), server)])),
        ws: None,
        cluster: None,
        console: None,
        bridge: None,
        prometheus: None,
        metrics: None,
    }
}
