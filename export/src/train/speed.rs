//! How fast a network trains: steps as a course makes them, timed.

use std::time::Instant;

use anyhow::ensure;
use serde::Serialize;

use super::adam::Adam;
use super::batches::Ahead;
use super::course::{Batch, Course, Objective, loader_threads};
use super::net::Net;

/// How fast training was. A step is everything that a course does for one batch: waiting for it, forward, backward,
/// clipping, the optimiser.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Speed {
    /// Steps that were timed.
    pub steps: usize,
    /// Faces in each.
    pub batch: usize,
    /// Weights that are learned.
    pub parameters: usize,
    /// Median.
    pub step_ms: f64,
    /// By the median.
    pub faces_per_s: f64,
    /// Of all timed steps, for each second of processor time of the whole process, the loaders' included; `None` where
    /// the system does not tell.
    pub faces_per_cpu_s: Option<f64>,
    /// Share of the time of all timed steps that the training thread waited for batches, 0 to 1.
    pub waited_share: f64,
}

/// Makes `warm_up` steps and then `steps` timed ones, from the objective's first epoch on.
///
/// # Errors
/// When the objective has no batches, or as a course.
pub fn measure(
    net: &Net,
    objective: &impl Objective,
    course: &Course,
    warm_up: usize,
    steps: usize,
) -> anyhow::Result<Speed> {
    let of_epoch = objective.batches(0);
    ensure!(!of_epoch.is_empty() && steps > 0, "there is nothing to train on");
    let pictures = objective.pictures();
    let make = |number: usize| {
        let samples = of_epoch.get(number % of_epoch.len()).cloned().unwrap_or_default();
        Batch::draw(pictures, samples, course.seed, 0, number)
    };
    let mut adam = Adam::new(course.weight_decay);
    let mut times_s = Vec::with_capacity(steps);
    std::thread::scope(|scope| {
        let mut ahead = Ahead::start(scope, loader_threads(), warm_up + steps, &make)?;
        let (mut waited_before, mut cpu_before, mut faces) = (0.0, None, 0);
        for number in 0..warm_up + steps {
            if number == warm_up {
                (waited_before, cpu_before) = (ahead.waited().as_secs_f64(), cpu_s());
            }
            let began = Instant::now();
            let Some(batch) = ahead.next() else { break };
            batch.learn(net, &mut adam, objective, course, (0, number), course.learning_rate)?;
            if number >= warm_up {
                times_s.push(began.elapsed().as_secs_f64());
                faces += batch.samples.len();
            }
        }
        let cpu_spent_s = cpu_s().zip(cpu_before).map(|(after, before)| after - before);
        let all_s: f64 = times_s.iter().sum();
        let step_s = median(&mut times_s);
        Ok(Speed {
            steps: times_s.len(),
            batch: faces / times_s.len().max(1),
            parameters: net.learned().map(|(_, tensor)| tensor.numel()).sum(),
            step_ms: step_s * 1000.0,
            faces_per_s: faces as f64 / times_s.len() as f64 / step_s,
            faces_per_cpu_s: cpu_spent_s
                .filter(|spent| *spent > 0.0)
                .map(|spent| faces as f64 / spent),
            waited_share: (ahead.waited().as_secs_f64() - waited_before) / all_s,
        })
    })
}

/// Processor time of this process so far, all threads, in the system's mode and its own.
fn cpu_s() -> Option<f64> {
    // proc_pid_stat(5): the name, in brackets, may hold anything; behind it utime and stime are the 12th and 13th field,
    // in ticks of 1/100 s on every Linux.
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / 100.0)
}

/// The middle one; of an even number the mean of the middle two. Not a number for none.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        at(middle)
    } else {
        (at(middle.wrapping_sub(1)) + at(middle)) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_goes_on_while_one_computes() {
        let before = cpu_s().unwrap();
        let began = Instant::now();
        while cpu_s().unwrap() < before + 0.05 {
            assert!(began.elapsed().as_secs() < 60, "no processor time is counted");
        }
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
