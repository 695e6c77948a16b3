//! How old a picture is when it arrives. After a stall a decoder delivers what has piled up: pictures of a moment
//! that is over, which must not open a door.

use std::time::{Duration, Instant};

/// Frames that are older than this when they arrive are thrown away.
pub(super) const MAX_LAG: Duration = Duration::from_secs(2);

/// Compares a stream's own clock with ours. The quickest arrival so far counts as no lag; since both clocks drift,
/// that memory fades by a thousandth of the time that passes.
#[derive(Debug, Default)]
pub(super) struct Lag {
    last: Option<Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    arrived: Instant,
    stream_s: f64,
    /// Lag of that picture, in seconds.
    lag_s: f64,
}

impl Lag {
    /// The lag of a picture that arrives at `arrived` with the stream's time `stream_s`.
    pub(super) fn of(&mut self, arrived: Instant, stream_s: f64) -> Duration {
        let lag_s = match self.last {
            // A stream whose time jumps back began again.
            Some(last) if stream_s >= last.stream_s => {
                let passed_s = arrived.saturating_duration_since(last.arrived).as_secs_f64();
                let step_s = stream_s - last.stream_s;
                (last.lag_s + passed_s * 0.999 - step_s).max(0.0)
            }
            _ => 0.0,
        };
        self.last = Some(Seen {
            arrived,
            stream_s,
            lag_s,
        });
        Duration::try_from_secs_f64(lag_s).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays (arrival, stream time) in seconds and returns the lags in seconds.
    fn lags(pictures: &[(f64, f64)]) -> Vec<f64> {
        let start = Instant::now();
        let mut lag = Lag::default();
        pictures
            .iter()
            .map(|(arrival_s, stream_s)| {
                let lag = lag.of(start + Duration::from_secs_f64(*arrival_s), *stream_s);
                (lag.as_secs_f64() * 10.0).round() / 10.0
            })
            .collect()
    }

    #[test]
    fn an_even_stream_has_no_lag() {
        assert_eq!(lags(&[(0.0, 9.0), (0.1, 9.1), (0.2, 9.2)]), [0.0, 0.0, 0.0]);
    }

    #[test]
    fn what_piled_up_in_a_stall_is_old_until_it_is_through() {
        let stalled = [(0.0, 0.0), (5.0, 0.1), (5.1, 2.0), (5.2, 4.0), (5.3, 5.3)];
        assert_eq!(lags(&stalled), [0.0, 4.9, 3.1, 1.2, 0.0]);
    }

    #[test]
    fn a_stream_that_begins_again_is_fresh() {
        assert_eq!(lags(&[(0.0, 100.0), (1.0, 101.0), (1.1, 0.0), (1.2, 0.1)]), [0.0; 4]);
    }

    #[test]
    fn clocks_that_drift_apart_make_no_lag() {
        // A camera whose clock runs 0.02 % slow, seen for ten hours: 7 s apart in the end.
        let drifting: Vec<(f64, f64)> = (0..36_000).map(|s| (f64::from(s), f64::from(s) * 0.9998)).collect();
        assert!(lags(&drifting).iter().all(|lag| *lag < 0.1));
    }

    #[test]
    fn wild_times_do_no_harm() {
        let wild = [
            (0.0, f64::NAN),
            (0.1, f64::INFINITY),
            (0.2, -1e300),
            (0.3, 1e300),
            (0.4, 0.0),
        ];
        assert_eq!(lags(&wild).len(), 5);
    }
}
