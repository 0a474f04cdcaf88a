//! What a piece of work took: wall clock and CPU time of the process.
//!
//! CPU time is Linux's count (`/proc/self/stat`); elsewhere there is none. It is not part of a version's files, which are the
//! same bytes whatever machine made them.

use std::fmt;
use std::time::Instant;

/// Linux counts a process's time in hundredths of a second, whatever the kernel's own clock.
const TICKS_PER_SECOND: f64 = 100.0;

/// A moment to measure from.
#[derive(Debug, Clone, Copy)]
pub struct Since {
    begun: Instant,
    cpu: Option<f64>,
}

impl Since {
    /// This moment.
    pub fn now() -> Since {
        Since { begun: Instant::now(), cpu: cpu_seconds() }
    }

    /// What the process took since then.
    pub fn spent(&self) -> Spent {
        let cpu = cpu_seconds().zip(self.cpu).map(|(now, then)| now - then);
        Spent { seconds: self.begun.elapsed().as_secs_f64(), cpu_seconds: cpu }
    }
}

/// Time taken.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Spent {
    /// On the wall.
    pub seconds: f64,
    /// Of all threads together, user and system; `None` where the system does not say.
    pub cpu_seconds: Option<f64>,
}

impl fmt::Display for Spent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:.0} s", self.seconds)?;
        self.cpu_seconds.map_or(Ok(()), |cpu| write!(out, ", {cpu:.0} CPU-s"))
    }
}

fn cpu_seconds() -> Option<f64> {
    user_and_system(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// Fields 14 and 15: the name of the program, in parentheses, may hold anything, so counting begins behind it.
fn user_and_system(stat: &str) -> Option<f64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_whitespace().skip(11).map(str::parse::<f64>);
    let (user, system) = (fields.next()?.ok()?, fields.next()?.ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 250 50 13 14";
        assert_eq!(user_and_system(stat), Some(3.0));
        assert!(["", "7 (a", "7 (a) R 1 2", "7 (a) R 1 2 3 4 5 6 7 8 9 10 x 50"].map(user_and_system) == [None; 4]);
    }

    #[test]
    fn work_takes_time() {
        let since = Since::now();
        while since.spent().cpu_seconds.unwrap_or(1.0) < 0.02 {}
        let spent = since.spent();
        assert!(spent.seconds > 0.0 && spent.to_string().contains(" s"), "{spent}");
    }
}
