//! How the learning rate changes over a run.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// A linear rise from zero, then half a cosine down to a hundredth of the peak (Loshchilov and Hutter 2017, arXiv
/// 1608.03983, without restarts).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The highest learning rate.
    pub peak: f64,
    /// Steps of the rise.
    pub warm_up_steps: usize,
    /// Steps altogether.
    pub steps: usize,
}

impl Schedule {
    /// The learning rate of the step numbered `step`, from 0.
    #[expect(clippy::cast_precision_loss, reason = "numbers of steps")]
    pub fn rate(&self, step: usize) -> f64 {
        if step < self.warm_up_steps {
            return self.peak * (step + 1) as f64 / self.warm_up_steps as f64;
        }
        let length = self.steps.saturating_sub(self.warm_up_steps).max(1);
        let done = (step - self.warm_up_steps) as f64 / length as f64;
        self.peak * (0.01 + 0.99 * 0.5 * (1.0 + (PI * done.min(1.0)).cos()))
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    #[test]
    fn it_rises_to_the_peak_and_falls_to_a_hundredth() {
        let schedule = Schedule {
            peak: 0.1,
            warm_up_steps: 10,
            steps: 110,
        };
        let rates: Vec<f64> = (0..=120).map(|step| schedule.rate(step)).collect();
        assert!(rates[..10].is_sorted() && rates[10..].is_sorted_by(|a, b| a >= b));
        assert!((rates[9] - 0.1).abs() < 1e-12 && (rates[120] - 0.001).abs() < 1e-12);
    }
}
