//! Reader-writer order over a tree of keys, first come first served: multiple-granularity locking
//! (Gray, Lorie, Putzolu, Traiger 1975) with every claim of a call entered at once.
//!
//! Claims enter all their queues in one step and queues are served in order, so that the order of entry is a
//! total order over conflicting calls and no cycle of waiting can form.

use std::collections::{BTreeMap, HashMap};

use crate::Access;

const READ_BELOW: u8 = 1;
const WRITE_BELOW: u8 = 2;
const READ: u8 = 4;
const WRITE: u8 = 8;
const ROOT: u32 = 0;
/// A call that names more keys is exclusive instead: coarser, hence still safe.
const MAX_KEYS: usize = 256;

/// Which modes each mode excludes, by bit position.
const EXCLUDES: [u8; 4] = [
    WRITE,
    READ | WRITE,
    WRITE_BELOW | WRITE,
    READ_BELOW | WRITE_BELOW | READ | WRITE,
];

/// One call's place in the queue of one key.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    ticket: u64,
    node: u32,
    modes: u8,
}

#[derive(Debug, Default)]
struct Counts([u32; 4]);

impl Counts {
    fn change(&mut self, modes: u8, by: i32) {
        for (bit, count) in self.0.iter_mut().enumerate() {
            if modes & (1 << bit) != 0 {
                *count = count.wrapping_add_signed(by);
            }
        }
    }

    fn excludes(&self, modes: u8) -> bool {
        (0..4).any(|bit| {
            modes & (1 << bit) != 0
                && (0..4).any(|held| EXCLUDES[bit] & (1 << held) != 0 && self.0[held] > 0)
        })
    }

    /// Whether this, or `other`, excludes every mode of which there is one in `wanted`.
    fn excludes_every(&self, other: &Self, wanted: &Self) -> bool {
        (0..4).all(|bit| wanted.0[bit] == 0 || self.excludes(1 << bit) || other.excludes(1 << bit))
    }

    fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }
}

#[derive(Debug, Default)]
struct Node {
    parent: u32,
    name: Box<str>,
    children: HashMap<Box<str>, u32>,
    granted: Counts,
    queued: Counts,
    /// By ticket, hence in order of arrival.
    waiting: BTreeMap<u64, (u32, u8)>,
}

impl Node {
    /// Grants what neither a holder nor anybody further ahead excludes. Usually that ends at the head of the queue;
    /// somebody who gave up in the middle may free those behind.
    fn grant(&mut self, granted: &mut Vec<u32>) {
        let mut ahead = Counts::default();
        let mut admitted = Vec::new();
        for (&ticket, &(task, modes)) in &self.waiting {
            if self.granted.excludes(modes) || ahead.excludes(modes) {
                ahead.change(modes, 1);
                if ahead.excludes_every(&self.granted, &self.queued) {
                    break;
                }
            } else {
                self.granted.change(modes, 1);
                admitted.push(ticket);
                granted.push(task);
            }
        }
        for ticket in admitted {
            if let Some((_, modes)) = self.waiting.remove(&ticket) {
                self.queued.change(modes, -1);
            }
        }
    }
}

/// Memory is proportional to the claims that exist, not to the keys ever seen.
#[derive(Debug)]
pub(crate) struct LockTable {
    nodes: Vec<Node>,
    vacant: Vec<u32>,
    next_ticket: u64,
}

impl LockTable {
    pub(crate) fn new() -> Self {
        Self {
            nodes: vec![Node::default()],
            vacant: Vec::new(),
            next_ticket: 0,
        }
    }

    /// Enters every claim of `task`; the second value is how many of them must wait.
    pub(crate) fn enter(&mut self, task: u32, access: &Access) -> (Box<[Claim]>, u32) {
        let mut wanted: Vec<(u32, u8)> = Vec::new();
        let too_many = access.reads.len() + access.writes.len() > MAX_KEYS;
        if access.exclusive || too_many {
            wanted.push((ROOT, WRITE));
        }
        for (keys, on_key, above) in [
            (&access.reads, READ, READ_BELOW),
            (&access.writes, WRITE, WRITE_BELOW),
        ] {
            for key in keys.iter().take(if too_many { 0 } else { MAX_KEYS }) {
                let mut node = ROOT;
                for segment in key.segments() {
                    want(&mut wanted, node, above);
                    node = self.child(node, segment);
                }
                want(&mut wanted, node, on_key);
            }
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let mut pending = 0;
        let claims = wanted
            .into_iter()
            .map(|(node, modes)| {
                pending += u32::from(!self.enter_node(node, task, modes, ticket));
                Claim {
                    ticket,
                    node,
                    modes,
                }
            })
            .collect();
        (claims, pending)
    }

    fn enter_node(&mut self, node: u32, task: u32, modes: u8, ticket: u64) -> bool {
        let node = &mut self.nodes[node as usize];
        if node.granted.excludes(modes) || node.queued.excludes(modes) {
            node.waiting.insert(ticket, (task, modes));
            node.queued.change(modes, 1);
            return false;
        }
        node.granted.change(modes, 1);
        true
    }

    /// Gives up every claim, granted or not. Each grant that this makes possible is pushed to `granted`
    /// (a task once per claim).
    pub(crate) fn leave(&mut self, claims: &[Claim], granted: &mut Vec<u32>) {
        for claim in claims {
            let node = &mut self.nodes[claim.node as usize];
            match node.waiting.remove(&claim.ticket) {
                Some(_) => node.queued.change(claim.modes, -1),
                None => node.granted.change(claim.modes, -1),
            }
            node.grant(granted);
        }
        // Claims list a node before those below it, each once.
        for claim in claims.iter().rev() {
            self.forget_if_unused(claim.node);
        }
    }

    fn child(&mut self, parent: u32, segment: &str) -> u32 {
        if let Some(&node) = self.nodes[parent as usize].children.get(segment) {
            return node;
        }
        let fresh = Node {
            parent,
            name: segment.into(),
            ..Node::default()
        };
        let node = match self.vacant.pop() {
            Some(node) => {
                self.nodes[node as usize] = fresh;
                node
            }
            None => {
                self.nodes.push(fresh);
                (self.nodes.len() - 1) as u32
            }
        };
        self.nodes[parent as usize]
            .children
            .insert(segment.into(), node);
        node
    }

    /// Claims below a node always hold one on it too, so an unclaimed node has no children in use.
    fn forget_if_unused(&mut self, node: u32) {
        let unused = {
            let n = &self.nodes[node as usize];
            n.granted.is_empty() && n.waiting.is_empty() && n.children.is_empty()
        };
        if node == ROOT || !unused {
            return;
        }
        let freed = std::mem::take(&mut self.nodes[node as usize]);
        self.nodes[freed.parent as usize]
            .children
            .remove(&freed.name);
        self.vacant.push(node);
    }

    /// Keys that somebody holds or waits for, the root aside.
    pub(crate) fn keys_in_use(&self) -> usize {
        self.nodes.len() - 1 - self.vacant.len()
    }
}

fn want(wanted: &mut Vec<(u32, u8)>, node: u32, modes: u8) {
    match wanted.iter_mut().find(|(known, _)| *known == node) {
        Some((_, have)) => *have |= modes,
        None => wanted.push((node, modes)),
    }
}
