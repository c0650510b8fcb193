//! What became of the requests, held against the logs of the instances.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::clients::{Asked, HURRY_MS, Kind, Outcome};
use crate::instances::{Instance, Kill};
use crate::{BUDGET_LEAST, BUDGET_PERCENT, WORKERS};

/// How long before its kill an instance may have begun with an answer that it did not finish, in microseconds.
const WORK: u64 = 2_000_000;
/// Between the client's clock and the gateway's, and between the instance's look at the connection and its log: what a
/// machine under load may need, in microseconds.
const TOLERANCE: u64 = 100_000;

/// An instance's line.
struct Begun {
    instance: usize,
    method: String,
    at: u64,
    left: Option<u64>,
}

#[derive(Default)]
struct Logs {
    begun: BTreeMap<String, Vec<Begun>>,
    cut: BTreeSet<String>,
}

#[derive(Default)]
pub struct Verdict {
    asked: usize,
    /// By kind and outcome.
    outcomes: BTreeMap<String, usize>,
    idempotent: usize,
    /// Requests with a deadline of their own.
    hurried: usize,
    /// Idempotent requests without a success, whose answer had not begun.
    failed: Vec<String>,
    wrong_bodies: Vec<String>,
    worse: Vec<String>,
    /// The client saw a broken answer, and no instance broke it.
    unexplained: Vec<String>,
    cuts: usize,
    twice: Vec<String>,
    /// Begun later after the deadline than is tolerated.
    late: Vec<String>,
    latest: u64,
    /// An instance was told of more time than the client had.
    too_long: Vec<String>,
    /// The names of all of these.
    pub suspicious: Vec<String>,
    pub sent: u64,
    pub retries: u64,
    pub retries_at_once: u64,
    pub over_budget: u64,
    pub ejected: usize,
    pub unhealthy: usize,
}

fn read(instances: &[Instance]) -> Logs {
    let mut logs = Logs::default();
    for (instance, log) in instances.iter().map(Instance::log).enumerate() {
        for line in log.lines() {
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                ["begun", method, name, at, left] => {
                    let (method, at, left) = (method.to_owned(), at.parse().unwrap(), left.parse().ok());
                    let begun = Begun { instance, method, at, left };
                    logs.begun.entry(name.to_owned()).or_default().push(begun);
                }
                ["cut", name] => drop(logs.cut.insert(name.to_owned())),
                _ => panic!("{line}"),
            }
        }
    }
    logs
}

impl Verdict {
    pub fn of(asked: &[Asked], kills: &[Kill], instances: &[Instance]) -> Self {
        let logs = read(instances);
        let mut verdict = Self { asked: asked.len(), cuts: logs.cut.len(), ..Self::default() };
        for (at, one) in asked.iter().enumerate() {
            // Of the same client, but for its first one.
            let before = at.checked_sub(1).map(|at| &asked[at]);
            let wrong = verdict.wrong();
            verdict.weigh(one, before, &logs, kills);
            if verdict.wrong() > wrong {
                verdict.suspicious.push(one.name.clone());
                verdict.suspicious.extend(before.map(|before| before.name.clone()));
            }
        }
        verdict.weigh_work(&logs);
        verdict
    }

    /// How much there is that should not be.
    fn wrong(&self) -> usize {
        let work = [&self.late, &self.too_long];
        let answers = [&self.wrong_bodies, &self.worse, &self.unexplained, &self.failed];
        work.iter().chain(&answers).map(|list| list.len()).sum()
    }

    fn weigh(&mut self, one: &Asked, before: Option<&Asked>, logs: &Logs, kills: &[Kill]) {
        *self.outcomes.entry(format!("{:?} {}", one.kind, shown(&one.outcome))).or_default() += 1;
        let begun = logs.begun.get(&one.name).map(Vec::as_slice).unwrap_or_default();
        let was_killed = |begun: &Begun| {
            let own = kills.iter().filter(|kill| kill.instance == begun.instance);
            own.into_iter().any(|kill| begun.at <= kill.at + TOLERANCE && kill.at <= begun.at + WORK)
        };
        let told = format!(
            "{one}, begun {} times; before: {}",
            begun.len(),
            before.map_or_else(String::new, ToString::to_string)
        );
        let mut had_begun = false;
        match &one.outcome {
            Outcome::Whole | Outcome::Refused(..) | Outcome::Left => {}
            Outcome::WrongBody => self.wrong_bodies.push(told.clone()),
            Outcome::Worse(_) => self.worse.push(told.clone()),
            Outcome::Broken(_) => {
                had_begun = logs.cut.contains(&one.name) || begun.iter().any(was_killed);
                if !had_begun {
                    self.unexplained.push(told.clone());
                }
            }
        }
        if matches!(&one.outcome, Outcome::Refused(502, reason) if reason == "service_truncated") {
            had_begun = logs.cut.contains(&one.name) || begun.iter().any(was_killed);
        }
        if one.kind == Kind::Get && !had_begun {
            self.idempotent += 1;
            if one.outcome != Outcome::Whole {
                self.failed.push(told);
            }
        }
        if one.kind == Kind::Hurried {
            self.hurried += 1;
            self.weigh_time(one, begun);
        }
    }

    fn weigh_time(&mut self, one: &Asked, begun: &[Begun]) {
        let due = one.sent + HURRY_MS * 1_000;
        for begun in begun {
            let late = begun.at.saturating_sub(due);
            self.latest = self.latest.max(late);
            if late > TOLERANCE {
                self.late.push(format!("{one}, sent {}, begun {}: {late} us late", one.sent, begun.at));
            }
            if begun.left.is_none_or(|left| left > HURRY_MS) {
                self.too_long.push(one.name.clone());
            }
        }
    }

    fn weigh_work(&mut self, logs: &Logs) {
        for (name, begun) in &logs.begun {
            if begun.iter().any(|one| one.method == "POST") && begun.len() > 1 {
                self.twice.push(name.clone());
                self.suspicious.push(name.clone());
            }
        }
    }

    /// Whatever the machine does meanwhile.
    pub fn expect_what_no_clock_decides(&self) {
        assert!(self.asked > 500, "{} requests say little", self.asked);
        assert!(self.retries > 0 && self.cuts > 0, "no trouble came about");
        assert!(self.wrong_bodies.is_empty(), "a part was taken as whole: {:?}", first(&self.wrong_bodies));
        assert!(self.worse.is_empty(), "neither answer nor end: {:?}", first(&self.worse));
        assert!(self.unexplained.is_empty(), "broken by the gateway: {:?}", first(&self.unexplained));
        assert!(self.twice.is_empty(), "executed twice: {:?}", first(&self.twice));
        assert!(self.too_long.is_empty(), "told of too much time: {:?}", first(&self.too_long));
        // Each worker may have one more that is about to be refused. A share of the requests would be less here.
        let most = BUDGET_LEAST + WORKERS;
        assert!(self.retries_at_once <= most, "{} retries at once", self.retries_at_once);
        assert!(self.unhealthy > 0 && self.ejected > 0, "health was not looked at");
    }

    /// In ten minutes there are at least 200,000 requests.
    pub fn expect_all(&self, length: Duration) {
        let least = length.as_secs() as usize * 200_000 / 600;
        assert!(self.asked >= least, "{} requests, not {least}", self.asked);
        let failed = self.failed.len() as f64 / self.idempotent as f64;
        assert!(failed <= 0.0001, "{} of {}: {:#?}", self.failed.len(), self.idempotent, first(&self.failed));
        let most = self.sent * BUDGET_PERCENT / 100;
        assert!(self.retries <= most, "{} retries, the budget has {most}", self.retries);
        // An instance may be stopped between its look at the connection and the line in its log, and a machine under load
        // may stand still between the client's clock and the gateway's. Without cancellation it is three times as many.
        let most = self.hurried / 500;
        assert!(self.late.len() <= most, "begun after the deadline: {:#?}", first(&self.late));
    }
}

fn first<T>(of: &[T]) -> &[T] {
    &of[..of.len().min(20)]
}

fn shown(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Refused(status, reason) => format!("{status} {reason}"),
        Outcome::Worse(_) => "worse".to_owned(),
        other => format!("{other:?}"),
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{} requests", self.asked)?;
        for (outcome, count) in &self.outcomes {
            writeln!(out, "  {count:>9} {outcome}")?;
        }
        let (all, failed) = (self.idempotent, self.failed.len());
        let share = 100.0 * (all - failed) as f64 / all as f64;
        writeln!(
            out,
            "idempotent, not begun to be answered: {share:.4} % of {all}, failed: {:#?}",
            first(&self.failed)
        )?;
        writeln!(
            out,
            "answers that an instance cut: {}; broken by nobody: {}",
            self.cuts,
            self.unexplained.len()
        )?;
        writeln!(out, "executed twice: {:?}", first(&self.twice))?;
        let (late, hurried) = (self.late.len(), self.hurried);
        writeln!(out, "begun after the deadline: {late} of {hurried}, at most {} us late", self.latest)?;
        let (sent, retries, refused) = (self.sent, self.retries, self.over_budget);
        writeln!(out, "sent to the service: {sent}, again: {retries}, not again for the budget: {refused}")?;
        writeln!(out, "retries at once: {}", self.retries_at_once)?;
        write!(out, "instances that were ejected: {}, unhealthy: {}", self.ejected, self.unhealthy)
    }
}
