//! Addresses that an allowed name may lead to. A name is somebody else's to point where they like: at this machine, at the
//! network behind it, at a cloud's metadata.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where an address lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum Reach {
    /// On the internet.
    Public,
    /// In a private network, or on this machine.
    Private,
    /// Where no name of an agent's may lead: link-local, metadata, multicast, nobody's, or another address in disguise.
    Closed,
}

/// Metadata and keys of clouds, where they lie outside of the link-local addresses.
const METADATA: &[IpAddr] = &[
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Where it lies.
pub(in crate::gateway) fn reach(address: IpAddr) -> Reach {
    if METADATA.contains(&address) {
        return Reach::Closed;
    }
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        [10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] | [198, 18..=19, ..] => Reach::Private,
        // This network; link-local; protocols; documentation; a relay that is no more; multicast, reserved, broadcast.
        [0 | 224..=255, ..] | [169, 254, ..] | [192, 0, 0 | 2, _] | [192, 88, 99, _] => Reach::Closed,
        [198, 51, 100, _] | [203, 0, 113, _] => Reach::Closed,
        _ => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    if address.is_loopback() {
        return Reach::Private;
    }
    match address.segments() {
        // Translated by the network: what it stands for counts.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
            reach(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        }
        [0xfc00..=0xfdff, ..] => Reach::Private,
        // Tunnels with an address inside, protocols; documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => Reach::Closed,
        [0x2000..=0x3fff, ..] => Reach::Public,
        // Unspecified, mapped from IPv4, link-local, multicast, not given to anybody.
        _ => Reach::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_public_only_where_the_internet_is() {
        let cases = [
            ("93.184.215.14 1.1.1.1 172.32.0.1 100.128.0.1 2606:4700::1111 2a00:1450::1 64:ff9b::1.1.1.1", Reach::Public),
            ("127.0.0.1 127.9.9.9 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 ::1 fd12::1 fc00::1", Reach::Private),
            ("64:ff9b::10.0.0.1 198.18.0.1", Reach::Private),
            ("169.254.169.254 0.0.0.0 0.1.2.3 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 192.0.0.192", Reach::Closed),
            ("168.63.129.16 100.100.100.200 fd00:ec2::254 192.0.2.1 198.51.100.1 203.0.113.1", Reach::Closed),
            (":: ::ffff:127.0.0.1 ::ffff:1.1.1.1 ::127.0.0.1 fe80::1 ff02::1 2002:7f00:1::1 2001::1 2001:db8::1", Reach::Closed),
            ("64:ff9b::169.254.169.254 64:ff9b:1::1 4000::1 febf::1", Reach::Closed),
        ];
        for (addresses, expected) in cases {
            for address in addresses.split(' ') {
                assert_eq!(reach(address.parse().expect("an address")), expected, "{address}");
            }
        }
    }
}
