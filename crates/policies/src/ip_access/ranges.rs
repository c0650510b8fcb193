//! Sets of addresses as sorted, merged ranges: a look-up is one binary search however many networks there are.

use std::net::IpAddr;

use ipnet::IpNet;

/// Inclusive ranges, sorted, without overlap.
#[derive(Debug, Default)]
pub struct Ranges {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Ranges {
    /// IPv4 addresses written as IPv6 (`::ffff:10.0.0.0/104`) count as IPv4.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        let mut ranges = Self::default();
        for network in networks {
            match (network.network(), network.broadcast()) {
                (IpAddr::V4(first), IpAddr::V4(last)) => ranges.v4.push((first.into(), last.into())),
                (IpAddr::V6(first), IpAddr::V6(last)) => {
                    match (first.to_ipv4_mapped(), last.to_ipv4_mapped()) {
                        (Some(first), Some(last)) => ranges.v4.push((first.into(), last.into())),
                        _ => ranges.push_v6(first.into(), last.into()),
                    }
                }
                _ => {}
            }
        }
        ranges.v4 = merged(ranges.v4, |end| end.checked_add(1));
        ranges.v6 = merged(ranges.v6, |end| end.checked_add(1));
        ranges
    }

    /// A network that holds all mapped addresses (`::/0`, for example) means them too.
    fn push_v6(&mut self, first: u128, last: u128) {
        const MAPPED: (u128, u128) = (0xffff_0000_0000, 0xffff_ffff_ffff);
        if first <= MAPPED.0 && last >= MAPPED.1 {
            self.v4.push((0, u32::MAX));
        }
        self.v6.push((first, last));
    }

    /// `ip` in its canonical form: a mapped address as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => holds(&self.v4, ip.into()),
            IpAddr::V6(ip) => holds(&self.v6, ip.into()),
        }
    }
}

fn holds<T: Ord + Copy>(ranges: &[(T, T)], value: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= value);
    after.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|(_, last)| value <= *last)
}

fn merged<T: Ord + Copy>(mut ranges: Vec<(T, T)>, next: fn(T) -> Option<T>) -> Vec<(T, T)> {
    ranges.sort_unstable();
    let mut out: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match out.last_mut() {
            Some((_, end)) if next(*end).is_none_or(|next| first <= next) => *end = (*end).max(last),
            _ => out.push((first, last)),
        }
    }
    out
}
