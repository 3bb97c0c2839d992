//! How long to measure, and what the figures should reach.

use std::time::Duration;

use super::report::Aim;
use super::server::Target;

/// Connections of the load, as the goals have it.
pub const CONNECTIONS: usize = 64;

pub const MILLION: i64 = 1_000_000;

/// How long to measure.
pub struct Plan {
    pub rate: u32,
    pub quick: bool,
    pub ten_million: bool,
}

impl Plan {
    fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    pub fn rounds(&self) -> usize {
        self.pick(3, 1)
    }

    pub fn round(&self) -> Duration {
        Duration::from_secs(self.pick(3, 2))
    }

    pub fn latency_time(&self) -> Duration {
        Duration::from_secs(self.pick(8, 3))
    }

    pub fn idle_time(&self) -> Duration {
        Duration::from_secs(self.pick(10, 3))
    }

    pub fn jobs(&self) -> u64 {
        self.pick(50_000, 10_000)
    }

    pub fn history(&self) -> i64 {
        self.pick(MILLION, MILLION / 5)
    }
}

/// The middle one, or the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

/// The goals of one engine, as (floor, goal).
pub struct Aims {
    pub intake: Aim,
    pub intake_ratio: Aim,
    pub intake_p99_ms: Aim,
    pub jobs: Aim,
    pub drain: Aim,
    pub start_p50_ms: Aim,
    pub start_p99_ms: Aim,
}

impl Aims {
    pub fn of(target: &Target) -> Aims {
        match target {
            Target::Sqlite => Aims {
                intake: Aim::new(10_000.0, 25_000.0),
                intake_ratio: Aim::at(0.42),
                intake_p99_ms: Aim::new(25.0, 10.0),
                jobs: Aim::new(6_000.0, 12_000.0),
                drain: Aim::new(25_000.0, 50_000.0),
                start_p50_ms: Aim::new(2.0, 0.8),
                start_p99_ms: Aim::new(8.0, 4.0),
            },
            Target::Postgres(_) => Aims {
                intake: Aim::new(8_000.0, 15_000.0),
                intake_ratio: Aim::at(0.28),
                intake_p99_ms: Aim::new(40.0, 20.0),
                jobs: Aim::new(5_000.0, 10_000.0),
                drain: Aim::new(24_000.0, 32_000.0),
                start_p50_ms: Aim::new(3.0, 1.5),
                start_p99_ms: Aim::new(12.0, 8.0),
            },
        }
    }
}

/// The same for money. Holds alone count where the file is the database; where it is a server, pairs with their charges.
pub struct MoneyAims {
    pub holds: Option<Aim>,
    pub pairs: Option<Aim>,
    pub refusals: Aim,
}

impl MoneyAims {
    pub fn of(target: &Target) -> MoneyAims {
        // A refusal that rolled back row locks was measured at 1,900/s; one that takes none must be far from that.
        let refusals = Aim::new(10_000.0, 50_000.0);
        match target {
            Target::Sqlite => MoneyAims { holds: Some(Aim::at(10_000.0)), pairs: None, refusals },
            Target::Postgres(_) => MoneyAims { holds: None, pairs: Some(Aim::at(5_000.0)), refusals },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_a_few_rounds() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
    }
}
