//! The working state: raw values, taken apart only where an operation has reached in.

use std::borrow::Cow;
use std::num::NonZeroU128;

use bytes::{Bytes, BytesMut};
use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

use crate::error::{Error, Result};
use crate::json;
use crate::keys::Keys;
use crate::sums::Sums;
use crate::text::{Fetch, Piece, Text};

/// Bytes of a byte state per hashed page.
pub(crate) const PAGE: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Array,
    Object,
    Pages,
}

/// One value in its place: what stands before it (white space, key and colon), the value, white space after it.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    /// Everything, or only what is around the value when that is open.
    text: Text,
    pre: u32,
    post: u32,
    open: Option<Box<Container>>,
    /// Not kept when it is zero, which it never is.
    hash: Option<NonZeroU128>,
}

#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) kind: Kind,
    slots: Vec<Slot>,
    bare: Bytes,
    body: u64,
    sums: Sums,
    keys: Keys,
}

/// The whole state of a thread.
#[derive(Debug, Clone, Default)]
pub(crate) enum State {
    /// Nothing yet: restores to no bytes.
    #[default]
    Empty,
    Json(Slot),
    Bytes(Container),
}

fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn hash_text(text: &Text, seed: u64) -> u128 {
    if text.blocks().is_empty() {
        return xxh3_128_with_seed(text.literals(), seed);
    }
    let mut hasher = Xxh3::with_seed(seed ^ 0x0062_6c6f_636b);
    for piece in text.pieces() {
        match piece {
            Piece::Literal(bytes) => {
                hasher.update(&(bytes.len() as u64).to_le_bytes());
                hasher.update(bytes);
            }
            Piece::Block(block) => {
                hasher.update(&block.len.to_le_bytes());
                hasher.update(&block.id);
            }
        }
    }
    hasher.digest128()
}

impl Slot {
    /// A value whose surroundings are white space only.
    pub(crate) fn value(text: Text) -> Self {
        let bytes = text.literals();
        let pre = bytes.iter().take_while(|b| is_space(b)).count();
        let post = bytes[pre..]
            .iter()
            .rev()
            .take_while(|b| is_space(b))
            .count();
        Self::closed(text, pre as u32, post as u32)
    }

    pub(crate) fn closed(text: Text, pre: u32, post: u32) -> Self {
        Self {
            text,
            pre,
            post,
            open: None,
            hash: None,
        }
    }

    pub(crate) fn opened(text: Text, pre: u32, container: Container) -> Self {
        let post = text.literals().len() as u32 - pre;
        Self {
            text,
            pre,
            post,
            open: Some(Box::new(container)),
            hash: None,
        }
    }

    pub(crate) fn text(&self) -> &Text {
        &self.text
    }

    pub(crate) fn pre(&self) -> u32 {
        self.pre
    }

    pub(crate) fn post(&self) -> u32 {
        self.post
    }

    pub(crate) fn container(&self) -> Option<&Container> {
        self.open.as_deref()
    }

    /// Closes the slot: what is left is what stands around the container.
    pub(crate) fn take_container(&mut self) -> Option<Container> {
        self.open.take().map(|open| *open)
    }

    pub(crate) fn len(&self) -> u64 {
        self.text.len() + self.open.as_ref().map_or(0, |c| c.len())
    }

    fn value_range(&self) -> std::ops::Range<usize> {
        self.pre as usize..self.text.literals().len() - self.post as usize
    }

    /// The value without its surroundings; `None` when it is open.
    pub(crate) fn closed_value(&self) -> Option<Text> {
        self.open
            .is_none()
            .then(|| self.text.slice(self.value_range()))
    }

    pub(crate) fn prefix(&self) -> &[u8] {
        &self.text.literals()[..self.pre as usize]
    }

    pub(crate) fn suffix(&self) -> &[u8] {
        let all = self.text.literals();
        &all[all.len() - self.post as usize..]
    }

    /// First byte of the value: tells its type.
    pub(crate) fn first(&self) -> Option<u8> {
        match &self.open {
            Some(open) if open.kind == Kind::Object => Some(b'{'),
            Some(_) => Some(b'['),
            None => self.text.literals().get(self.pre as usize).copied(),
        }
    }

    /// The key of an object's member, decoded.
    pub(crate) fn key(&self) -> String {
        json::unquote(self.quoted_key())
    }

    fn quoted_key(&self) -> &[u8] {
        let prefix = self.prefix();
        let colon = prefix.iter().rposition(|&b| b == b':').unwrap_or(0);
        prefix[..colon].trim_ascii()
    }

    pub(crate) fn has_key(&self, key: &str) -> bool {
        let quoted = self.quoted_key();
        let inside = quoted
            .get(1..quoted.len().saturating_sub(1))
            .unwrap_or_default();
        if inside.contains(&b'\\') {
            self.key() == key
        } else {
            inside == key.as_bytes()
        }
    }

    /// The same place with another value in it: all between colon (or comma) and the next comma.
    pub(crate) fn replaced(&self, value: Text) -> Self {
        let prefix = self.prefix();
        let Some(colon) = prefix.iter().rposition(|&b| b == b':') else {
            return Self::value(value);
        };
        Self::member(&prefix[..=colon], value)
    }

    /// What a `set` would replace; `None` when it is open or has blocks.
    pub(crate) fn place(&self) -> Option<Bytes> {
        if self.open.is_some() || !self.text.blocks().is_empty() {
            return None;
        }
        let colon = self.prefix().iter().rposition(|&b| b == b':');
        Some(self.text.literals().slice(colon.map_or(0, |at| at + 1)..))
    }

    /// A member of an object; `name` ends with the colon.
    pub(crate) fn member(name: &[u8], value: Text) -> Self {
        let inner = Self::value(value);
        let mut literals = BytesMut::with_capacity(name.len() + inner.text.literals().len());
        literals.extend_from_slice(name);
        literals.extend_from_slice(inner.text.literals());
        let shift = |(at, block): &(u32, _)| (at + name.len() as u32, *block);
        let blocks = inner.text.blocks().iter().map(shift).collect();
        let text = Text::new(literals.freeze(), blocks);
        Self::closed(text, inner.pre + name.len() as u32, inner.post)
    }

    /// Takes the value apart one level.
    pub(crate) fn parsed(&self, path: &str) -> Result<Container> {
        let value = self.text.slice(self.value_range());
        if !matches!(value.literals().first(), Some(b'{' | b'[')) {
            return Err(Error::operation(path, "the path goes through a scalar"));
        }
        let children = json::children(value.literals())?;
        let slots = children.list.iter().map(|child| {
            let pre = child.value.start - child.all.start;
            let post = child.all.end - child.value.end;
            Self::closed(value.slice(child.all.clone()), pre as u32, post as u32)
        });
        let kind = if children.object {
            Kind::Object
        } else {
            Kind::Array
        };
        let bare = value.literals().slice(children.bare.clone());
        Ok(Container::new(kind, slots.collect(), bare))
    }

    /// Makes sure that the value is open and returns it.
    pub(crate) fn open(&mut self, path: &str) -> Result<&mut Container> {
        if self.open.is_none() {
            let container = self.parsed(path)?;
            let mut around = self.prefix().to_vec();
            around.extend_from_slice(self.suffix());
            self.text = Text::from(Bytes::from(around));
            self.open = Some(Box::new(container));
        }
        self.hash = None;
        self.open
            .as_deref_mut()
            .ok_or_else(|| Error::operation(path, "the container did not open"))
    }

    pub(crate) fn hash(&mut self) -> u128 {
        if let Some(hash) = self.hash {
            return hash.get();
        }
        let seed = u64::from(self.pre) << 32 | u64::from(self.post);
        let around = hash_text(&self.text, seed);
        let hash = match &mut self.open {
            None => around,
            Some(open) => {
                let mut both = [0; 32];
                both[..16].copy_from_slice(&around.to_le_bytes());
                both[16..].copy_from_slice(&open.hash().to_le_bytes());
                xxh3_128_with_seed(&both, seed)
            }
        };
        self.hash = NonZeroU128::new(hash);
        hash
    }

    pub(crate) fn render(&self, fetch: &dyn Fetch, out: &mut Vec<u8>) -> Result<()> {
        match &self.open {
            None => self.text.render(fetch, out),
            Some(open) => {
                out.extend_from_slice(self.prefix());
                open.render(fetch, out)?;
                out.extend_from_slice(self.suffix());
                Ok(())
            }
        }
    }

    /// The value alone, as bytes.
    pub(crate) fn render_value(&self, fetch: &dyn Fetch) -> Result<Bytes> {
        let mut out = Vec::with_capacity(self.len() as usize);
        match (&self.open, self.closed_value()) {
            (Some(open), _) => open.render(fetch, &mut out)?,
            (None, Some(value)) if value.blocks().is_empty() => {
                return Ok(value.literals().clone());
            }
            (None, value) => value.unwrap_or_default().render(fetch, &mut out)?,
        }
        Ok(out.into())
    }

    fn visit(&self, visit: &mut dyn FnMut(Piece<'_>)) {
        match &self.open {
            None => self.text.pieces().for_each(visit),
            Some(open) => {
                visit(Piece::Literal(self.prefix()));
                open.visit(visit);
                visit(Piece::Literal(self.suffix()));
            }
        }
    }
}

impl Container {
    pub(crate) fn new(kind: Kind, slots: Vec<Slot>, bare: Bytes) -> Self {
        let body = slots.iter().map(Slot::len).sum();
        Self {
            kind,
            slots,
            bare,
            body,
            sums: Sums::all_changed(),
            keys: Keys::default(),
        }
    }

    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The children, and the white space inside when there are none.
    pub(crate) fn into_slots(self) -> (Vec<Slot>, Bytes) {
        (self.slots, self.bare)
    }

    pub(crate) fn bare(&self) -> &Bytes {
        &self.bare
    }

    pub(crate) fn len(&self) -> u64 {
        match (self.kind, self.slots.len() as u64) {
            (Kind::Pages, _) => self.body,
            (_, 0) => 2 + self.bare.len() as u64,
            (_, n) => 1 + n + self.body,
        }
    }

    /// Which child a token of a path means.
    pub(crate) fn position(&self, token: &str) -> Option<usize> {
        match self.kind {
            Kind::Array => crate::pointer::index(token).filter(|&i| i < self.slots.len()),
            // The last of several equal keys is the one that readers of JSON see.
            Kind::Object => self.keys.position(&self.slots, token),
            Kind::Pages => None,
        }
    }

    /// Changes one child through `change` and keeps length and hashes in step.
    pub(crate) fn change<R>(&mut self, index: usize, change: impl FnOnce(&mut Slot) -> R) -> R {
        let slot = &mut self.slots[index];
        self.body -= slot.len();
        let result = change(slot);
        self.body += slot.len();
        self.sums.changed(index);
        result
    }

    pub(crate) fn push(&mut self, slot: Slot) {
        self.body += slot.len();
        self.sums.changed(self.slots.len());
        self.keys.pushed(&slot, self.slots.len());
        self.slots.push(slot);
    }

    pub(crate) fn splice(&mut self, range: std::ops::Range<usize>, slots: Vec<Slot>) {
        self.body += slots.iter().map(Slot::len).sum::<u64>();
        self.sums.changed_from(range.start);
        self.keys.forget();
        let gone = self.slots.splice(range, slots);
        self.body -= gone.map(|slot| slot.len()).sum::<u64>();
    }

    pub(crate) fn hash(&mut self) -> u128 {
        let slots = &mut self.slots;
        let count = slots.len();
        let top = self.sums.root(count, |i| slots[i].hash());
        let mut head = [0; 24];
        head[..16].copy_from_slice(&top.to_le_bytes());
        head[16..].copy_from_slice(&(count as u64).to_le_bytes());
        let kind = self.kind as u64 + 1;
        let bare = if count == 0 { &self.bare[..] } else { &[] };
        xxh3_128_with_seed(&head, kind) ^ xxh3_128_with_seed(bare, kind)
    }

    pub(crate) fn render(&self, fetch: &dyn Fetch, out: &mut Vec<u8>) -> Result<()> {
        let (opening, closing) = self.brackets();
        out.extend_from_slice(opening);
        for (i, slot) in self.slots.iter().enumerate() {
            if i > 0 && self.kind != Kind::Pages {
                out.push(b',');
            }
            slot.render(fetch, out)?;
        }
        if self.slots.is_empty() {
            out.extend_from_slice(&self.bare);
        }
        out.extend_from_slice(closing);
        Ok(())
    }

    pub(crate) fn brackets(&self) -> (&'static [u8], &'static [u8]) {
        match self.kind {
            Kind::Array => (b"[", b"]"),
            Kind::Object => (b"{", b"}"),
            Kind::Pages => (b"", b""),
        }
    }

    fn visit(&self, visit: &mut dyn FnMut(Piece<'_>)) {
        let (opening, closing) = self.brackets();
        visit(Piece::Literal(opening));
        for (i, slot) in self.slots.iter().enumerate() {
            if i > 0 && self.kind != Kind::Pages {
                visit(Piece::Literal(b","));
            }
            slot.visit(visit);
        }
        if self.slots.is_empty() {
            visit(Piece::Literal(&self.bare));
        }
        visit(Piece::Literal(closing));
    }
}

impl State {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Json(slot) => slot.len(),
            Self::Bytes(pages) => pages.len(),
        }
    }

    pub(crate) fn hash(&mut self) -> u128 {
        match self {
            Self::Empty => 0,
            Self::Json(slot) => slot.hash(),
            Self::Bytes(pages) => pages.hash(),
        }
    }

    pub(crate) fn render(&self, fetch: &dyn Fetch) -> Result<Bytes> {
        let mut out = Vec::with_capacity(self.len() as usize);
        match self {
            Self::Empty => {}
            Self::Json(slot) => slot.render(fetch, &mut out)?,
            Self::Bytes(pages) => pages.render(fetch, &mut out)?,
        }
        Ok(out.into())
    }

    /// Every piece of the state in order.
    pub(crate) fn visit(&self, visit: &mut dyn FnMut(Piece<'_>)) {
        match self {
            Self::Empty => {}
            Self::Json(slot) => slot.visit(visit),
            Self::Bytes(pages) => pages.visit(visit),
        }
    }

    /// Lets `read` look at the value at a path.
    pub(crate) fn look<R>(&self, path: &str, read: &mut dyn FnMut(&Slot) -> R) -> Result<R> {
        let tokens = crate::pointer::tokens(path)?;
        match self {
            Self::Json(slot) => look(slot, &tokens, path, read),
            _ => Err(Error::operation(path, "the state is not JSON")),
        }
    }
}

fn look<R>(
    slot: &Slot,
    tokens: &[Cow<'_, str>],
    path: &str,
    read: &mut dyn FnMut(&Slot) -> R,
) -> Result<R> {
    let Some((token, rest)) = tokens.split_first() else {
        return Ok(read(slot));
    };
    let parsed;
    let container = match slot.container() {
        Some(open) => open,
        None => {
            parsed = slot.parsed(path)?;
            &parsed
        }
    };
    let index = container
        .position(token)
        .ok_or_else(|| Error::missing("path", path))?;
    look(&container.slots[index], rest, path, read)
}
