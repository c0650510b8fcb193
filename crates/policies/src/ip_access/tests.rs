//! Lists against addresses, refusals at compile, and the ranges against the naive look-up.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::prelude::*;

use super::ranges::Ranges;
use crate::shared::testing::{compile, problems};

fn is_admitted(settings: &str, ip: &str) -> bool {
    let policy = compile("ip_access", settings);
    let mut exchange = policy.exchange(&[]);
    exchange.client.ip = ip.parse().unwrap();
    match policy.request(&mut exchange) {
        None => true,
        Some(reply) => {
            assert_eq!(reply.status(), 403);
            false
        }
    }
}

#[test]
fn table() {
    for (settings, ip, expected) in [
        ("{ allow: [10.0.0.0/8] }", "10.255.255.255", true),
        ("{ allow: [10.0.0.0/8] }", "11.0.0.0", false),
        ("{ allow: [10.0.0.0/8] }", "9.255.255.255", false),
        ("{ allow: [10.0.0.0/8] }", "::ffff:10.0.0.1", true),
        ("{ allow: [10.0.0.0/8] }", "::1", false),
        ("{ allow: ['::ffff:10.0.0.0/104'] }", "10.9.9.9", true),
        ("{ allow: ['::ffff:10.0.0.0/104'] }", "11.9.9.9", false),
        ("{ allow: ['::/0'] }", "10.9.9.9", true),
        ("{ allow: [0.0.0.0/0] }", "::1", false),
        ("{ allow: [10.1.2.3] }", "10.1.2.3", true),
        ("{ allow: [10.1.2.3] }", "10.1.2.4", false),
        ("{ allow: ['2001:db8::/32'] }", "2001:db8:ffff::1", true),
        ("{ allow: ['2001:db8::/32'] }", "2001:db9::", false),
        ("{ deny: [10.0.0.0/8] }", "10.0.0.0", false),
        ("{ deny: [10.0.0.0/8] }", "192.0.2.1", true),
        ("{ deny: [10.0.0.0/8] }", "::ffff:a00:1", false),
        ("{ allow: [10.0.0.0/8], deny: [10.1.0.0/16] }", "10.1.0.1", false),
        ("{ allow: [10.1.0.0/16], deny: [10.0.0.0/8] }", "10.1.0.1", false),
        ("{ allow: [10.0.0.0/8], deny: [10.1.0.0/16] }", "10.2.0.1", true),
        ("{ allow: [255.255.255.255, 0.0.0.0] }", "255.255.255.255", true),
    ] {
        assert_eq!(is_admitted(settings, ip), expected, "{settings} {ip}");
    }
}

#[test]
fn host_bits_are_an_error_with_the_fix() {
    let told =
        problems("ip_access", "{ allow: [10.0.0.1/8], deny: ['2001:db8::1/32', nonsense, 10.0.0.0/33] }");
    assert!(told.contains("write 10.0.0.0/8 for the network, or 10.0.0.1/32 for the address"), "{told}");
    assert!(
        told.contains("write 2001:db8::/32 for the network, or 2001:db8::1/128 for the address"),
        "{told}"
    );
    assert_eq!(told.matches("is not a network").count(), 2, "{told}");
}

#[test]
fn empty_lists_are_refused() {
    assert!(problems("ip_access", "{}").starts_with("empty_ip_access"));
    assert!(problems("ip_access", "{ allow: [], deny: [10.0.0.0/8] }").contains("refuses everybody"));
}

fn any_network() -> impl Strategy<Value = IpNet> {
    // A small space, so that networks touch, overlap and hold each other.
    let v4 = (0u32..4096, 18u8..=32).prop_map(|(bits, prefix)| {
        IpNet::V4(Ipv4Net::new((0x0a00_0000 | bits).into(), prefix).unwrap().trunc())
    });
    let v6 = (0u128..4096, 100u8..=128).prop_map(|(bits, prefix)| {
        IpNet::V6(Ipv6Net::new(((0x2001_0db8 << 96) | bits).into(), prefix).unwrap().trunc())
    });
    prop_oneof![v4, v6]
}

fn any_ip() -> impl Strategy<Value = IpAddr> {
    let v4 = (0u32..8192).prop_map(|bits| IpAddr::V4((0x0a00_0000 | bits).into()));
    let v6 = (0u128..8192).prop_map(|bits| IpAddr::V6(((0x2001_0db8u128 << 96) | bits).into()));
    prop_oneof![v4, v6]
}

proptest! {
    #[test]
    fn ranges_agree_with_the_naive_look_up(
        networks in prop::collection::vec(any_network(), 0..40),
        ips in prop::collection::vec(any_ip(), 1..40),
    ) {
        let ranges = Ranges::new(networks.iter().copied());
        let edges = networks.iter().flat_map(|network| [network.network(), network.broadcast()]);
        for ip in ips.into_iter().chain(edges) {
            let naive = networks.iter().any(|network| network.contains(&ip));
            prop_assert_eq!(ranges.contains(ip), naive, "{} in {:?}", ip, networks);
        }
    }
}
