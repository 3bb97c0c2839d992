//! A window of hits that several nodes keep together: read, judged and written back by whoever holds it.
//!
//! Exact: every hit is in it, so it is only for limits up to [`SHARED_MOST`]. Time is the database's, which the nodes agree on.

/// A limit above this is kept by each node for itself: it protects the node, and sharing it would cost more than it gives.
pub const SHARED_MOST: u32 = 1_000;

/// The times of the hits of one scope, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedWindow(Vec<i64>);

impl SharedWindow {
    /// From its text. What is no time is passed over: a window lives for a minute, and a hit too few is no harm.
    pub fn parse(text: &str) -> Self {
        SharedWindow(text.split(',').filter_map(|time| time.parse().ok()).collect())
    }

    pub fn to_text(&self) -> String {
        self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    pub fn expire(&mut self, now_ms: i64, window_ms: i64) {
        self.0.retain(|hit_ms| hit_ms.saturating_add(window_ms) > now_ms);
    }

    /// Until one more hit fits: 0 when it fits now.
    pub fn wait_ms(&self, limit: u32, now_ms: i64, window_ms: i64) -> i64 {
        let excess = (self.0.len() + 1).saturating_sub(limit as usize);
        match excess.checked_sub(1).and_then(|place| self.0.get(place)) {
            Some(hit_ms) => (hit_ms.saturating_add(window_ms) - now_ms).max(1),
            None => 0,
        }
    }

    /// How many more fit.
    pub fn left(&self, limit: u32) -> u32 {
        limit.saturating_sub(u32::try_from(self.0.len()).unwrap_or(u32::MAX))
    }

    pub fn add(&mut self, now_ms: i64) {
        // Times never go back in it, so that the oldest is the first.
        self.0.push(self.0.last().map_or(now_ms, |last| now_ms.max(*last)));
    }

    /// The latest hit.
    pub fn last_ms(&self) -> Option<i64> {
        self.0.last().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_no_window_is_more_let_through_than_the_limit() {
        let mut window = SharedWindow::default();
        let mut let_through = Vec::new();
        for now_ms in (0..10_000).step_by(7) {
            window.expire(now_ms, 1_000);
            if window.wait_ms(3, now_ms, 1_000) == 0 {
                window.add(now_ms);
                let_through.push(now_ms);
            }
            window = SharedWindow::parse(&window.to_text());
        }

        assert!(let_through.windows(4).all(|four| four[3] - four[0] >= 1_000), "{let_through:?}");
        assert_eq!(let_through.len(), 30);
    }

    #[test]
    fn the_wait_ends_when_the_oldest_leaves() {
        let mut window = SharedWindow::parse("100,nonsense,,300");
        assert_eq!((window.wait_ms(2, 400, 1_000), window.left(3), window.last_ms()), (700, 1, Some(300)));

        window.expire(1_100, 1_000);
        assert_eq!((window.wait_ms(2, 1_100, 1_000), window.to_text().as_str()), (0, "300"));
    }
}
