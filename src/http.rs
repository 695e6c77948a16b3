//! How the daemon does, over HTTP: `/metrics` for Prometheus, `/health` (does it live) and `/ready` (can it do its
//! work). Only to be read, and without people's names. Runs on the I/O thread; connections are few and short.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::metrics::{self, Instruments};

/// Connections at a time; further ones wait.
const CONNECTIONS: usize = 8;
/// A request has to be there within this.
const TO_ASK: Duration = Duration::from_secs(5);
/// And the answer has to be taken within this, from the connection's start.
const TO_READ: Duration = Duration::from_secs(15);
/// The longest request, in bytes; ours have one line.
const LONGEST_REQUEST: usize = 16 * 1024;
/// After an error of the system, such as too many open files.
const PAUSE: Duration = Duration::from_millis(200);

/// Listens on `address`. One that can't be had is a warning: the daemon's work needs no HTTP.
pub fn start(runtime: &Handle, address: SocketAddr, instruments: Arc<Instruments>) {
    let listener = match listen(runtime, address) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%address, %error, "can't listen for HTTP; there are no metrics. Is http.listen right?");
            return;
        }
    };
    match listener.local_addr() {
        Ok(address) => tracing::info!(%address, "metrics and health are served over HTTP"),
        Err(error) => tracing::debug!(%error, "the listening address is not known"),
    }
    if !address.ip().is_loopback() {
        tracing::warn!(
            %address,
            "HTTP is open to the network: whoever reaches it can see when somebody is at a camera"
        );
    }
    let pages = pages(instruments);
    // A page in a resident's browser can have its name point at this machine; then it asks for its own name.
    let pages = if address.ip().is_loopback() {
        pages.layer(middleware::from_fn(only_this_machine))
    } else {
        pages
    };
    runtime.spawn(serve(listener, pages));
}

fn listen(runtime: &Handle, address: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let _on_the_runtime = runtime.enter();
    tokio::net::TcpListener::from_std(listener)
}

/// GET and HEAD of three paths; all else is refused.
fn pages(instruments: Arc<Instruments>) -> Router {
    Router::new()
        .route("/metrics", get(metrics_page))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .with_state(instruments)
}

async fn serve(listener: tokio::net::TcpListener, pages: Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&room).acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "can't take an HTTP connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let pages = TowerToHyperService::new(pages.clone());
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(TO_ASK)
                .max_buf_size(LONGEST_REQUEST)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), pages);
            match tokio::time::timeout(TO_READ, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection failed"),
                Err(_) => tracing::debug!("an HTTP connection took too long"),
            }
            drop(place);
        });
    }
}

/// Refuses whoever asks for another host than this machine.
async fn only_this_machine(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    // HTTP/1.0 names none, and no browser speaks it.
    let is_here = host.is_none_or(|host| {
        let name = host
            .rsplit_once(':')
            .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
        let name = name.map_or(host, |(name, _)| name);
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
    });
    if is_here {
        next.run(request).await
    } else {
        StatusCode::FORBIDDEN.into_response()
    }
}

async fn metrics_page(State(instruments): State<Arc<Instruments>>) -> Response {
    const TEXT: &str = prometheus_client::encoding::prometheus_text::CONTENT_TYPE;
    match metrics::page(&instruments) {
        Ok(page) => ([(header::CONTENT_TYPE, TEXT)], page).into_response(),
        Err(error) => {
            tracing::error!(%error, "can't write the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn health(State(instruments): State<Arc<Instruments>>) -> Response {
    let health = instruments.health(Instant::now());
    answer(health["healthy"] == true, &health)
}

async fn ready(State(instruments): State<Arc<Instruments>>) -> Response {
    let missing = instruments.missing();
    answer(
        missing.is_empty(),
        &json!({"ready": missing.is_empty(), "missing": missing}),
    )
}

/// 200 or 503, with JSON.
fn answer(well: bool, json: &Value) -> Response {
    let status = if well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, format!("{json}\n")).into_response()
}
