//! What a reader looks at: an index and the segments that it points into.

use std::sync::Arc;

use crate::index::Index;
use crate::place::Place;
use crate::segment::Segment;

#[derive(Debug)]
pub(crate) struct View {
    pub(crate) index: Arc<Index>,
    /// In the order of insertion; the active one, if any, is the last.
    pub(crate) members: Vec<Arc<Segment>>,
    /// By segment number.
    by_id: Vec<Option<Arc<Segment>>>,
}

impl View {
    pub(crate) fn new(index: Arc<Index>, members: Vec<Arc<Segment>>) -> Self {
        Self::with_hidden(index, members, &[])
    }

    /// With more segments that are found by number only: a compaction's victims, as long as index
    /// entries point at them.
    pub(crate) fn with_hidden(
        index: Arc<Index>,
        members: Vec<Arc<Segment>>,
        hidden: &[Arc<Segment>],
    ) -> Self {
        let mut by_id = Vec::new();
        for segment in members.iter().chain(hidden) {
            let id = segment.id as usize;
            if by_id.len() <= id {
                by_id.resize(id + 1, None);
            }
            by_id[id] = Some(Arc::clone(segment));
        }
        Self {
            index,
            members,
            by_id,
        }
    }

    pub(crate) fn segment(&self, place: Place) -> Option<&Arc<Segment>> {
        self.by_id.get(place.segment() as usize)?.as_ref()
    }

    pub(crate) fn active(&self) -> Option<&Arc<Segment>> {
        self.members.last().filter(|s| !s.sealed)
    }
}
