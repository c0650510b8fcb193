//! What predicates say of each other: which exclude, which imply. An answer is a proof; what cannot be proved is `false`.

use crate::evaluate::Predicate;

pub(super) fn flatten(predicates: &[Predicate]) -> Vec<&Predicate> {
    let mut out = Vec::new();
    for predicate in predicates {
        match predicate {
            Predicate::All(list) => out.extend(flatten(list)),
            other => out.push(other),
        }
    }
    out
}

/// True when provably no request passes both.
pub(super) fn disjoint_predicates(p: &Predicate, q: &Predicate) -> bool {
    match (p, q) {
        (Predicate::Header { name: a, test: p }, Predicate::Header { name: b, test: q })
        | (Predicate::Query { name: a, test: p }, Predicate::Query { name: b, test: q }) => {
            a == b && p.disjoint(q)
        }
        (Predicate::Client(a), Predicate::Client(b)) => a.disjoint(*b),
        (Predicate::Versions(a), Predicate::Versions(b)) => a.disjoint(b),
        (Predicate::All(list), other) | (other, Predicate::All(list)) => {
            list.iter().any(|p| disjoint_predicates(p, other))
        }
        (Predicate::Any(alternatives), other) | (other, Predicate::Any(alternatives)) => {
            alternatives.iter().all(|a| a.iter().any(|p| disjoint_predicates(p, other)))
        }
        _ => false,
    }
}

/// True when some `not` in `a` excludes everything that `b` lets through.
pub(super) fn excludes(a: &[&Predicate], b: &[&Predicate]) -> bool {
    a.iter().any(|p| match p {
        Predicate::Not(list) => !list.is_empty() && list.iter().all(|q| implied(b, q)),
        _ => false,
    })
}

/// True when provably everything that passes all of `list` passes `q`.
pub(super) fn implied(list: &[&Predicate], q: &Predicate) -> bool {
    if let Predicate::All(parts) = q {
        return parts.iter().all(|q| implied(list, q));
    }
    // A request of a gateway with versions always has one of them.
    matches!(q, Predicate::Versions(set) if set.is_all())
        || list.iter().any(|p| match (*p, q) {
            (p, q) if p == q => true,
            (Predicate::Header { name: a, test: p }, Predicate::Header { name: b, test: q })
            | (Predicate::Query { name: a, test: p }, Predicate::Query { name: b, test: q }) => {
                a == b && p.implies(q)
            }
            (Predicate::Client(a), Predicate::Client(b)) => a.within(*b),
            (Predicate::Versions(a), Predicate::Versions(b)) => a.within(b),
            (p, Predicate::Any(alternatives)) => {
                alternatives.iter().any(|a| a.iter().all(|q| implied(&[p], q)))
            }
            _ => false,
        })
}
