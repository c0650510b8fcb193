//! What kind of client asks: the table in this crate's README, which a test executes.
//! A guess for presentation (one gateway per client type), never a security decision: a client may lie.

use crate::evaluate::Facts;
use crate::matching::ValueTest;

/// What a `client:` predicate can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientType {
    Mobile,
    Tablet,
    Desktop,
    /// Programs: crawlers, command-line clients, HTTP libraries that name themselves.
    Bot,
}

impl ClientType {
    pub const ALL: [ClientType; 4] =
        [ClientType::Mobile, ClientType::Tablet, ClientType::Desktop, ClientType::Bot];

    /// The word used in configuration.
    pub fn name(self) -> &'static str {
        match self {
            ClientType::Mobile => "mobile",
            ClientType::Tablet => "tablet",
            ClientType::Desktop => "desktop",
            ClientType::Bot => "bot",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        ClientType::ALL.into_iter().find(|c| c.name() == word)
    }
}

const BOTS: [&str; 12] = [
    "bot",
    "crawl",
    "spider",
    "slurp",
    "headless",
    "curl/",
    "wget/",
    "python-",
    "go-http-client",
    "okhttp",
    "java/",
    "libwww",
];
const TABLETS: [&str; 5] = ["ipad", "tablet", "kindle", "silk/", "playbook"];
const MOBILES: [&str; 6] = ["iphone", "ipod", "mobile", "windows phone", "opera mini", "blackberry"];
const BROWSERS: [&str; 2] = ["mozilla/", "opera/"];

/// The type of the client that sent these headers; none when nothing tells. The order: a `User-Agent` that
/// names itself a program, `Sec-CH-UA-Mobile` with `Sec-CH-UA-Platform`, the rest of `User-Agent`.
pub fn client_type<F: Facts>(facts: &F) -> Option<ClientType> {
    let agent = facts.header_values("user-agent").next().unwrap_or_default();
    let has = |words: &[&str]| words.iter().any(|word| contains_ignoring_case(agent, word.as_bytes()));
    if has(&BOTS) {
        return Some(ClientType::Bot);
    }
    match facts.header_values("sec-ch-ua-mobile").next() {
        Some(b"?1") => return Some(ClientType::Mobile),
        Some(b"?0") => {
            // Tablets send ?0: only the platform tells them from a desk.
            return Some(match facts.header_values("sec-ch-ua-platform").next() {
                Some(b"\"Android\"" | b"\"iOS\"") => ClientType::Tablet,
                _ => ClientType::Desktop,
            });
        }
        _ => {}
    }
    if has(&TABLETS) || (has(&["android"]) && !has(&["mobile"])) {
        Some(ClientType::Tablet)
    } else if has(&MOBILES) {
        Some(ClientType::Mobile)
    } else if has(&BROWSERS) {
        Some(ClientType::Desktop)
    } else {
        None
    }
}

/// Headers that decide it: a cache in front must vary on them.
impl ClientType {
    pub const VARY: [&'static str; 3] = ["Sec-CH-UA-Mobile", "Sec-CH-UA-Platform", "User-Agent"];
}

fn contains_ignoring_case(text: &[u8], lower: &[u8]) -> bool {
    text.windows(lower.len()).any(|window| window.eq_ignore_ascii_case(lower))
}

/// A set of client types as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientSet(u8);

impl ClientSet {
    pub(crate) fn new(types: &[ClientType]) -> Self {
        ClientSet(types.iter().fold(0, |bits, t| bits | (1 << *t as u8)))
    }

    pub(crate) fn contains(self, client: Option<ClientType>) -> bool {
        client.is_some_and(|c| self.0 & (1 << c as u8) != 0)
    }

    pub(crate) fn disjoint(self, other: Self) -> bool {
        self.0 & other.0 == 0
    }

    pub(crate) fn within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    pub(crate) fn names(self) -> Vec<&'static str> {
        ClientType::ALL.into_iter().filter(|c| self.contains(Some(*c))).map(ClientType::name).collect()
    }

    /// Headers that make a client of the first of these types, for an example request.
    pub(crate) fn example(self, other: Self) -> Option<(&'static str, ValueTest)> {
        let both = ClientSet(self.0 & other.0);
        let agent = match ClientType::ALL.into_iter().find(|c| both.contains(Some(*c)))? {
            ClientType::Mobile => "Mozilla/5.0 (iPhone) Mobile",
            ClientType::Tablet => "Mozilla/5.0 (iPad)",
            ClientType::Desktop => "Mozilla/5.0 (X11; Linux)",
            ClientType::Bot => "examplebot/1.0",
        };
        Some(("user-agent", ValueTest::Exact(agent.to_owned())))
    }
}
