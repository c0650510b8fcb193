//! `over`: the order of routes that follows from it, and the names in it that no route has. Looks at nothing else.

use crate::matching::RouteSpec;
use crate::problem::Problem;

pub(super) fn unknown_over(specs: &[RouteSpec], route: usize, name: &str) -> Problem {
    let others = specs.iter().enumerate().filter(|(i, spec)| *i != route && spec.name != name);
    let near = others.map(|(_, s)| (strsim::damerau_levenshtein(&s.name, name), &s.name)).min();
    let near = near.filter(|(distance, _)| *distance <= 2).map(|(_, name)| name.clone());
    Problem::UnknownOver { route, over: name.to_owned(), near }
}

/// Each route before those it is `over`; an error names the routes of a circle.
pub(super) fn positions(specs: &[RouteSpec], over: &[Vec<u32>]) -> Result<Vec<u32>, Problem> {
    let mut before = vec![0u32; specs.len()];
    for under in over.iter().flatten() {
        before[*under as usize] += 1;
    }
    let mut ready: Vec<u32> = (0..specs.len() as u32).rev().filter(|r| before[*r as usize] == 0).collect();
    let mut position = vec![0; specs.len()];
    let mut placed = 0;
    while let Some(route) = ready.pop() {
        position[route as usize] = placed;
        placed += 1;
        for under in &over[route as usize] {
            before[*under as usize] -= 1;
            if before[*under as usize] == 0 {
                ready.push(*under);
            }
        }
    }
    let Some(mut route) = (0..specs.len()).find(|r| before[*r] > 0) else { return Ok(position) };
    // Every route left has one before it that is left too: going back long enough ends in the circle.
    let back = |route: usize| {
        let left = |r: &usize| before[*r] > 0 && over[*r].contains(&(route as u32));
        (0..specs.len()).find(left).unwrap_or(route)
    };
    for _ in 0..specs.len().min(1000) {
        route = back(route);
    }
    let mut circle = vec![route];
    let mut at = back(route);
    while at != route && circle.len() < 20 {
        circle.push(at);
        at = back(at);
    }
    circle.push(route);
    let names: Vec<&str> = circle.iter().rev().map(|r| specs[*r].name.as_str()).collect();
    Err(Problem::OverCircle { route, circle: names.join(" over ") })
}
