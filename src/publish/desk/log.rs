//! The way of the outbox's rows to `log`: read a few, send them, hand their acknowledgements back.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;

use crate::publish::outbox::ToOutbox;

/// Rows on their way at a time, so that a long log leaves room for events.
const WINDOW: usize = 8;

pub(super) struct Log {
    rows: VecDeque<(i64, String)>,
    underway: usize,
    read_to: i64,
    /// Whether rows were asked for.
    asked: bool,
    /// Whether the answer that is waited for was asked for before all began again: it says nothing about the rows below.
    stale: bool,
    /// Whether there may be rows that were not read.
    more: bool,
    acknowledged: VecDeque<i64>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self {
            rows: VecDeque::new(),
            underway: 0,
            read_to: 0,
            asked: false,
            stale: false,
            more: true,
            acknowledged: VecDeque::new(),
        }
    }

    /// There is a new row.
    pub(super) fn grew(&mut self) {
        self.more = true;
    }

    pub(super) fn read(&mut self, rows: Vec<(i64, String)>) {
        self.asked = false;
        if std::mem::take(&mut self.stale) {
            return;
        }
        self.more = !rows.is_empty();
        for (number, json) in rows {
            self.read_to = number;
            self.rows.push_back((number, json));
        }
    }

    /// Everything that is not acknowledged is read and sent again.
    pub(super) fn begin_again(&mut self) {
        self.rows.clear();
        self.underway = 0;
        self.read_to = 0;
        self.stale = self.asked;
        self.more = true;
    }

    pub(super) fn next(&mut self) -> Option<(i64, String)> {
        if self.underway >= WINDOW {
            return None;
        }
        self.rows.pop_front()
    }

    pub(super) fn put_back(&mut self, number: i64, json: String) {
        self.rows.push_front((number, json));
    }

    pub(super) fn was_sent(&mut self) {
        self.underway += 1;
    }

    pub(super) fn was_answered(&mut self) {
        self.underway = self.underway.saturating_sub(1);
    }

    pub(super) fn acknowledged(&mut self, number: i64) {
        self.acknowledged.push_back(number);
    }

    /// Hands acknowledgements to the outbox; what finds no room there goes the next time.
    pub(super) fn hand_back(&mut self, outbox: &SyncSender<ToOutbox>) {
        while let Some(number) = self.acknowledged.front() {
            if outbox.try_send(ToOutbox::Acknowledged(*number)).is_err() {
                return;
            }
            self.acknowledged.pop_front();
        }
    }

    /// Asks for further rows when there are none left.
    pub(super) fn ask(&mut self, outbox: &SyncSender<ToOutbox>) {
        if self.more && !self.asked && self.rows.is_empty() {
            let read = ToOutbox::Read {
                after: self.read_to,
                limit: WINDOW,
            };
            self.asked = outbox.try_send(read).is_ok();
        }
    }

    pub(super) fn is_said(&self) -> bool {
        self.rows.is_empty() && !self.more && !self.asked && self.acknowledged.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn rows_that_were_asked_for_before_a_new_connection_don_t_hide_those_below() {
        let (outbox, asked) = sync_channel(8);
        let mut log = Log::new();
        let row = |number: i64| (number, String::new());
        log.ask(&outbox);
        log.read((1..=8).map(row).collect());
        while log.next().is_some() {
            log.was_sent();
        }
        log.ask(&outbox);
        log.begin_again();
        // The answer to what was asked on the connection before.
        log.read((9..=12).map(row).collect());
        log.ask(&outbox);
        let after: Vec<i64> = asked
            .try_iter()
            .map(|message| match message {
                ToOutbox::Read { after, .. } => after,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(after, [0, 8, 0]);
        log.read((1..=8).map(row).collect());
        assert_eq!(log.next().map(|(number, _)| number), Some(1));
    }
}
