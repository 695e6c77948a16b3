//! Availability is true: who is killed or cut off is `offline` within one and a half keep-alives, and who is back has
//! said everything else before it says `online`.

use std::time::{Duration, Instant};

use crate::broker::{Broker, Message, Subscriber};
use crate::clip::clip;
use crate::daemon::{Daemon, Home, door};
use crate::proxy::Proxy;
use crate::trials::Trials;

/// The shortest that Kith takes.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Mosquitto 2 looks for clients whose time is over every five seconds, and counts whole ones: on top of the one and a
/// half keep-alives that MQTT gives a client, this is the broker's.
const BROKERS_LOOK: Duration = Duration::from_secs(6);
/// After a connection is taken.
const BACK_WITHIN: Duration = Duration::from_secs(5);

const STATUS: &str = "kith/box/status";

/// A house without people before its camera, and who listens to it.
struct House {
    home: Home,
    broker: Broker,
    subscriber: Subscriber,
}

impl House {
    fn new() -> Self {
        let broker = Broker::start();
        let home = Home::new();
        home.enrol("Barack Obama", &["obama"]);
        let subscriber = broker.subscribe();
        Self {
            home,
            broker,
            subscriber,
        }
    }

    fn run(&self, port: u16) -> Daemon {
        let camera = format!("{}loop = true\n", door(&clip(&[], 0.0)));
        let rest = format!("keep_alive_s = {}\n{camera}", KEEP_ALIVE.as_secs());
        self.home.configure(port, "", &rest);
        self.home.run()
    }

    /// How many messages there were; later ones are news.
    fn now(&self) -> usize {
        self.subscriber.all().len()
    }

    /// Waits for the node's next `status` after the first `from` messages.
    fn wait_for(&self, from: usize, status: &str) {
        self.subscriber.wait(status, |heard| {
            heard[from..].iter().any(|message| message.is(STATUS, status))
        });
    }

    /// What is not said yet to somebody who hears that the node is online after the first `from` messages.
    fn unsaid(&self, from: usize) -> Vec<String> {
        let heard = self.subscriber.all();
        let online = heard[from..]
            .iter()
            .position(|message| message.is(STATUS, "online"))
            .unwrap();
        let before: Vec<&Message> = heard[from..from + online].iter().collect();
        [
            "info",
            "sight",
            "camera/door/status",
            "camera/door/people",
            "person/barack-obama/state",
        ]
        .into_iter()
        .map(|topic| format!("kith/box/{topic}"))
        .filter(|topic| !before.iter().any(|message| message.topic == *topic))
        .map(|topic| format!("{topic} was not said before `online`"))
        .collect()
    }
}

fn within(what: &str, took: Duration, limit: Duration) -> Result<(), String> {
    if took <= limit {
        Ok(())
    } else {
        Err(format!(
            "{what} took {:.2} s, more than {:.2} s",
            took.as_secs_f64(),
            limit.as_secs_f64()
        ))
    }
}

#[test]
fn who_is_killed_is_offline_and_comes_back_whole() {
    let house = House::new();
    Trials::counting("availability", "kills", 2, 50).run(|_| {
        let from = house.now();
        let daemon = house.run(house.broker.port);
        house.wait_for(from, "online");
        let unsaid = house.unsaid(from);
        if let Some(unsaid) = unsaid.first() {
            return Err(unsaid.clone());
        }
        let from = house.now();
        let killed = Instant::now();
        drop(daemon);
        house.wait_for(from, "offline");
        within("offline", killed.elapsed(), KEEP_ALIVE.mul_f64(1.5))
    });
}

#[test]
fn who_is_cut_off_is_offline_and_comes_back_whole() {
    let house = House::new();
    let proxy = Proxy::start(house.broker.port);
    let from = house.now();
    let _daemon = house.run(proxy.port);
    house.wait_for(from, "online");
    Trials::counting("availability", "network-cuts", 1, 20).run(|_| {
        let from = house.now();
        let connections = proxy.notes().connected.len();
        let cut = Instant::now();
        proxy.cut();
        house.wait_for(from, "offline");
        let offline = within("offline", cut.elapsed(), KEEP_ALIVE.mul_f64(1.5) + BROKERS_LOOK);
        let from = house.now();
        proxy.mend();
        proxy.wait("a new connection", |notes| notes.connected.len() > connections);
        house.wait_for(from, "online");
        // The first connection after the cut may have been given up while it was still cut.
        let back = proxy.notes().connected.last().unwrap().elapsed();
        offline?;
        within("online", back, BACK_WITHIN)?;
        house.unsaid(from).into_iter().next().map_or(Ok(()), Err)
    });
}
