//! Sets of request methods, tested with one bit operation. HEAD follows GET here and nowhere else.

const KNOWN: [&str; 20] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "PATCH",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "QUERY",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "SEARCH",
    "REPORT",
    "PURGE",
];
const GET: u32 = 1;
const HEAD: u32 = 2;

/// The methods a route answers. Empty: every method.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MethodSet {
    /// As written.
    written: u32,
    other: Box<[Box<str>]>,
}

/// The method of a request, classified once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestMethod<'a> {
    bit: u32,
    text: &'a str,
}

/// HEAD requests are ordered apart: a route that lists HEAD precedes one that answers it through GET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Plain,
    Head,
}

pub(crate) fn is_known(word: &str) -> bool {
    KNOWN.contains(&word)
}

/// The message for a word that should have been a method.
pub(crate) fn unknown(word: &str) -> String {
    let upper = word.to_ascii_uppercase();
    let near = KNOWN.iter().min_by_key(|known| strsim::damerau_levenshtein(known, &upper));
    match near {
        Some(near) if strsim::damerau_levenshtein(near, &upper) <= 2 && !word.is_empty() => {
            format!("`{word}` is no method: did you mean `{near}`?")
        }
        _ => {
            format!("`{word}` is no known method: one of {}; others can be given as a list", KNOWN.join(", "))
        }
    }
}

impl<'a> RequestMethod<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let bit = match text {
            "GET" => GET,
            "HEAD" => HEAD,
            "POST" => 4,
            _ => KNOWN.iter().position(|known| *known == text).map_or(0, |i| 1 << i),
        };
        RequestMethod { bit, text }
    }

    pub(crate) fn order(self) -> Order {
        if self.bit == HEAD { Order::Head } else { Order::Plain }
    }
}

impl MethodSet {
    /// Errors with the message for the first word that can be no method.
    pub(crate) fn new(words: &[String]) -> Result<Self, String> {
        let mut set = MethodSet::default();
        let mut other: Vec<Box<str>> = Vec::new();
        for word in words {
            let token =
                |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&b);
            match KNOWN.iter().position(|known| known == word) {
                Some(i) => set.written |= 1 << i,
                None if word.is_empty() || !word.bytes().all(token) => return Err(unknown(word)),
                None => other.push(word.as_str().into()),
            }
        }
        other.sort();
        other.dedup();
        set.other = other.into();
        Ok(set)
    }

    pub(crate) fn is_any(&self) -> bool {
        self.written == 0 && self.other.is_empty()
    }

    /// The known methods it answers, HEAD with GET.
    fn answered(&self) -> u32 {
        if self.written & GET != 0 { self.written | HEAD } else { self.written }
    }

    #[inline]
    pub(crate) fn contains(&self, method: RequestMethod<'_>) -> bool {
        if self.is_any() {
            return true;
        }
        if method.bit != 0 {
            return self.answered() & method.bit != 0;
        }
        self.other.iter().any(|m| **m == *method.text)
    }

    /// 0: every method; 1: given; 2: HEAD itself given, and the request is one.
    pub(crate) fn level(&self, order: Order) -> u8 {
        match order {
            _ if self.is_any() => 0,
            Order::Head if self.written & HEAD != 0 => 2,
            _ => 1,
        }
    }

    /// True when it answers a method of this order.
    pub(crate) fn answers(&self, order: Order) -> bool {
        match order {
            _ if self.is_any() => true,
            Order::Head => self.answered() & HEAD != 0,
            Order::Plain => self.written & !HEAD != 0 || !self.other.is_empty(),
        }
    }

    /// True when some request of this order is answered by both.
    pub(crate) fn overlaps(&self, other: &MethodSet, order: Order) -> bool {
        match order {
            Order::Head => self.answers(Order::Head) && other.answers(Order::Head),
            Order::Plain => {
                (self.is_any() && other.answers(Order::Plain))
                    || (other.is_any() && self.answers(Order::Plain))
                    || self.written & other.written & !HEAD != 0
                    || self.other.iter().any(|m| other.other.contains(m))
            }
        }
    }

    /// True when every method it answers is answered by `other`.
    pub(crate) fn within(&self, other: &MethodSet) -> bool {
        other.is_any()
            || (!self.is_any()
                && self.answered() & !other.answered() == 0
                && self.other.iter().all(|m| other.other.contains(m)))
    }

    /// A method that both answer in this order, for an example request.
    pub(crate) fn example(&self, other: &MethodSet, order: Order) -> Option<String> {
        if order == Order::Head {
            return Some("HEAD".to_owned());
        }
        let (from, to) = if self.is_any() { (other, self) } else { (self, other) };
        if from.is_any() {
            return Some("GET".to_owned());
        }
        let names = from.names();
        names.into_iter().find(|m| *m != "HEAD" && to.contains(RequestMethod::new(m))).map(str::to_owned)
    }

    /// What it answers, sorted, for `Allow`.
    pub(crate) fn names(&self) -> Vec<&str> {
        let answered = self.answered();
        let known = KNOWN.iter().enumerate().filter(|(i, _)| answered & (1 << i) != 0).map(|(_, name)| *name);
        let mut names: Vec<&str> = known.chain(self.other.iter().map(|m| &**m)).collect();
        names.sort_unstable();
        names
    }

    /// The only method written, if it is exactly one.
    pub(crate) fn single(&self) -> Option<&str> {
        match (self.written.count_ones(), &*self.other) {
            (1, []) => KNOWN.get(self.written.trailing_zeros() as usize).copied(),
            (0, [one]) => Some(one),
            _ => None,
        }
    }
}
