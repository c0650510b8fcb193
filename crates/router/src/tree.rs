//! The tree of path segments, flat: one table of edges for all nodes, so that a step costs the same however
//! many routes there are. It knows shapes, not predicates: who answers among the routes of one leaf is the
//! visitor's question. Invariant: leaves are visited in the order of precedence of their paths.

use std::hash::{BuildHasher, Hasher};

use smallvec::SmallVec;

use crate::evaluate::PathTest;
use crate::host::{HostMap, HostPattern};
use crate::method::Order;
use crate::template::Segment;

const NONE: u32 = u32::MAX;

/// (offset, length) of the captures in the normalised path, in its order.
pub(crate) type Ranges = SmallVec<[(u32, u32); 4]>;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    has_literals: bool,
    one: u32,
    /// Leaves.
    pub(crate) end: u32,
    pub(crate) rest: u32,
    pub(crate) regex: u32,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Root {
    pub(crate) node: u32,
    /// The leaf of the routes that match every path.
    pub(crate) any: u32,
}

/// The routes of one shape, the most specific first, for each order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leaf {
    pub(crate) plain: Vec<u32>,
    /// Empty: the same as `plain`.
    pub(crate) head: Vec<u32>,
}

impl Leaf {
    #[inline]
    fn routes(&self, order: Order) -> &[u32] {
        match order {
            Order::Head if !self.head.is_empty() => &self.head,
            _ => &self.plain,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Tree {
    roots: HostMap<Root>,
    root_list: Vec<Root>,
    nodes: Vec<Node>,
    edges: Edges,
    pub(crate) leaves: Vec<Leaf>,
}

/// Asked at each leaf that the path reaches; a route ends the walk.
pub(crate) trait Visit {
    fn leaf(&mut self, routes: &[u32]) -> Option<u32>;
}

impl Tree {
    /// Puts a route into the leaf of its path, under one host (none: every host). Returns the leaf.
    pub(crate) fn insert(&mut self, route: u32, host: Option<&HostPattern>, path: Option<&PathTest>) -> u32 {
        let root = self.root(host);
        let Some(path) = path else {
            self.leaves[root.any as usize].plain.push(route);
            return root.any;
        };
        let mut node = root.node;
        let leaf = match path {
            PathTest::Exact(text) => {
                for segment in text[1..].split('/') {
                    node = self.literal(node, segment);
                }
                self.leaf(node, |n| &mut n.end)
            }
            PathTest::Template(template) => {
                let mut rest = false;
                for segment in template.segments() {
                    match segment {
                        Segment::Literal(text) => node = self.literal(node, text),
                        Segment::One(_) => node = self.one(node),
                        Segment::Rest(_) => rest = true,
                    }
                }
                self.leaf(node, |n| if rest { &mut n.rest } else { &mut n.end })
            }
            PathTest::Regex(pattern) => {
                let whole = std::str::from_utf8(pattern.prefix()).ok();
                let whole = whole.and_then(|p| p.strip_prefix('/')).and_then(|p| p.rsplit_once('/'));
                for segment in whole.into_iter().flat_map(|(segments, _)| segments.split('/')) {
                    node = self.literal(node, segment);
                }
                self.leaf(node, |n| &mut n.regex)
            }
        };
        self.leaves[leaf as usize].plain.push(route);
        leaf
    }

    /// Pairs of leaves (wider, narrower): the wider one comes first and matches every path of the narrower.
    pub(crate) fn covering(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let nodes = self.nodes.iter().map(|n| (n.rest, n.regex));
        let roots = self.root_list.iter().map(|r| (self.nodes[r.node as usize].rest, r.any));
        nodes.chain(roots).filter(|(wide, narrow)| *wide != NONE && *narrow != NONE)
    }

    pub(crate) fn reads_host(&self) -> bool {
        self.roots.reads_host()
    }

    /// Visits the leaves that match, until the visitor takes a route.
    #[inline]
    pub(crate) fn walk<V: Visit>(
        &self,
        host: &str,
        path: &str,
        order: Order,
        visitor: &mut V,
    ) -> Option<(u32, Ranges)> {
        let mut walk = Walk { tree: self, path, order, visitor, ranges: Ranges::new() };
        let found = self.roots.first(host, |root| walk.node(root.node, 1).or_else(|| walk.leaf(root.any)));
        found.map(|route| (route, walk.ranges))
    }

    fn root(&mut self, host: Option<&HostPattern>) -> Root {
        if let Some(root) = self.roots.entry(host) {
            return root;
        }
        let node = self.node();
        let any = self.new_leaf();
        let root = Root { node, any };
        self.roots.insert(host, root);
        self.root_list.push(root);
        root
    }

    fn node(&mut self) -> u32 {
        self.nodes.push(Node { has_literals: false, one: NONE, end: NONE, rest: NONE, regex: NONE });
        (self.nodes.len() - 1) as u32
    }

    fn new_leaf(&mut self) -> u32 {
        self.leaves.push(Leaf::default());
        (self.leaves.len() - 1) as u32
    }

    fn leaf(&mut self, node: u32, place: impl Fn(&mut Node) -> &mut u32) -> u32 {
        let there = *place(&mut self.nodes[node as usize]);
        if there != NONE {
            return there;
        }
        let leaf = self.new_leaf();
        *place(&mut self.nodes[node as usize]) = leaf;
        leaf
    }

    fn literal(&mut self, node: u32, segment: &str) -> u32 {
        if let Some(child) = self.edges.find(node, segment.as_bytes()) {
            return child;
        }
        let child = self.node();
        self.nodes[node as usize].has_literals = true;
        self.edges.insert(node, segment, child);
        child
    }

    fn one(&mut self, node: u32) -> u32 {
        if self.nodes[node as usize].one == NONE {
            let child = self.node();
            self.nodes[node as usize].one = child;
        }
        self.nodes[node as usize].one
    }
}

struct Walk<'a, V> {
    tree: &'a Tree,
    path: &'a str,
    order: Order,
    visitor: &'a mut V,
    ranges: Ranges,
}

impl<V: Visit> Walk<'_, V> {
    #[inline]
    fn leaf(&mut self, leaf: u32) -> Option<u32> {
        if leaf == NONE {
            return None;
        }
        let tree = self.tree;
        self.visitor.leaf(tree.leaves[leaf as usize].routes(self.order))
    }

    /// `at`: where the next segment begins; beyond the end of the path when there is none. The recursion is
    /// as deep as the tree, which a pattern's number of segments bounds.
    fn node(&mut self, id: u32, at: usize) -> Option<u32> {
        let node = self.tree.nodes[id as usize];
        let bytes = self.path.as_bytes();
        if at > bytes.len() {
            return self.leaf(node.end).or_else(|| self.rest(node.rest, bytes.len()));
        }
        if node.has_literals || node.one != NONE {
            let end = memchr::memchr(b'/', &bytes[at..]).map_or(bytes.len(), |i| at + i);
            if node.has_literals
                && let Some(child) = self.tree.edges.find(id, &bytes[at..end])
                && let Some(found) = self.node(child, end + 1)
            {
                return Some(found);
            }
            if node.one != NONE && end > at {
                self.ranges.push((at as u32, (end - at) as u32));
                if let Some(found) = self.node(node.one, end + 1) {
                    return Some(found);
                }
                self.ranges.pop();
            }
        }
        self.rest(node.rest, at).or_else(|| self.leaf(node.regex))
    }

    #[inline]
    fn rest(&mut self, leaf: u32, at: usize) -> Option<u32> {
        if leaf == NONE {
            return None;
        }
        self.ranges.push((at as u32, (self.path.len() - at) as u32));
        let found = self.leaf(leaf);
        if found.is_none() {
            self.ranges.pop();
        }
        found
    }
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    parent: u32,
    child: u32,
    /// Upper half of the hash: almost every other key is told apart without reading its text.
    tag: u32,
    offset: u32,
    length: u32,
}

const FREE: Slot = Slot { parent: NONE, child: NONE, tag: 0, offset: 0, length: 0 };

/// (node, segment) -> node: open addressing at most half full, the texts in one arena.
#[derive(Debug, Default)]
struct Edges {
    slots: Vec<Slot>,
    used: usize,
    texts: Vec<u8>,
    hasher: ahash::RandomState,
}

impl Edges {
    #[inline]
    fn hash(&self, parent: u32, segment: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u32(parent);
        hasher.write(segment);
        hasher.finish()
    }

    #[inline]
    fn find(&self, parent: u32, segment: &[u8]) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let hash = self.hash(parent, segment);
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = &self.slots[at];
            if slot.child == NONE {
                return None;
            }
            if slot.tag == (hash >> 32) as u32
                && slot.parent == parent
                && self.texts[slot.offset as usize..][..slot.length as usize] == *segment
            {
                return Some(slot.child);
            }
            at = (at + 1) & mask;
        }
    }

    fn insert(&mut self, parent: u32, segment: &str, child: u32) {
        if (self.used + 1) * 2 > self.slots.len() {
            let size = (self.slots.len() * 2).max(16);
            let old = std::mem::replace(&mut self.slots, vec![FREE; size]);
            for slot in old.into_iter().filter(|slot| slot.child != NONE) {
                let text = &self.texts[slot.offset as usize..][..slot.length as usize];
                let hash = self.hash(slot.parent, text);
                self.place(hash, slot);
            }
        }
        let hash = self.hash(parent, segment.as_bytes());
        let offset = self.texts.len() as u32;
        self.texts.extend_from_slice(segment.as_bytes());
        let slot = Slot { parent, child, tag: (hash >> 32) as u32, offset, length: segment.len() as u32 };
        self.place(hash, slot);
        self.used += 1;
    }

    fn place(&mut self, hash: u64, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at].child != NONE {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }
}
