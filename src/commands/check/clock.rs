//! The machine's clock: events carry its time, certificates are judged by it.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Finding, Subject};

/// No clock that is right shows an earlier year.
const EARLIEST_YEAR: i16 = 2026;
/// Nor a later one, as long as this version is in use.
const LATEST_YEAR: i16 = 2046;

pub(super) fn check() -> Vec<Finding> {
    let now = Timestamp::now();
    vec![year(now).unwrap_or_else(|| synchronised(now, kernel_says_synchronised()))]
}

/// A finding about a year that can't be.
fn year(now: Timestamp) -> Option<Finding> {
    let year = TimeZone::UTC.to_datetime(now).year();
    (!(EARLIEST_YEAR..=LATEST_YEAR).contains(&year)).then(|| {
        Finding::failed(
            Subject::Clock,
            "",
            format!("the clock says {now:.0}: events would carry that time, and no certificate would hold"),
            "set the clock: `sudo timedatectl set-ntp true`, or `sudo date -s \"2026-11-29 12:00\"` where there is no \
             network",
        )
    })
}

fn synchronised(now: Timestamp, synchronised: Option<bool>) -> Finding {
    match synchronised {
        Some(true) => Finding::ok(Subject::Clock, "", format!("{now:.0}, synchronised")),
        Some(false) => Finding::warning(
            Subject::Clock,
            "",
            format!("{now:.0}; nothing keeps this clock right"),
            "switch synchronisation on: `sudo timedatectl set-ntp true` (Debian: `sudo apt install systemd-timesyncd`); in a \
             container the host's clock counts",
        ),
        None => Finding::not_checked(
            Subject::Clock,
            "",
            format!("{now:.0}; the kernel doesn't say whether it is kept right"),
        ),
    }
}

/// Whether something keeps the clock right, as the kernel knows; `None` where it doesn't say.
#[expect(unsafe_code, reason = "the system call has no safe form in the crates that we have")]
fn kernel_says_synchronised() -> Option<bool> {
    // SAFETY: a struct of integers, for which zero is a value; with no mode set the call only fills it in.
    let state = unsafe {
        let mut time: libc::timex = std::mem::zeroed();
        libc::adjtimex(&raw mut time)
    };
    match state {
        -1 => None,
        state => Some(state != libc::TIME_ERROR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::check::State;

    #[test]
    fn a_clock_without_a_battery_is_noticed() {
        for (time, plausible) in [
            ("1970-01-01T00:03:00Z", false),
            ("2016-02-11T16:28:00Z", false),
            ("2026-11-29T12:00:00Z", true),
            ("2099-01-01T00:00:00Z", false),
        ] {
            let finding = year(time.parse().unwrap());
            assert_eq!(finding.is_none(), plausible, "{time}");
            assert!(
                finding.is_none_or(|finding| finding.mend.unwrap().contains("set-ntp")),
                "{time}"
            );
        }
    }

    #[test]
    fn a_clock_that_nothing_keeps_right_is_a_warning() {
        let now = "2026-11-29T12:00:00Z".parse().unwrap();
        assert_eq!(synchronised(now, Some(true)).state, State::Ok);
        assert_eq!(synchronised(now, Some(false)).state, State::Warning);
        assert_eq!(synchronised(now, None).state, State::NotChecked);
    }
}
