//! A value for each of a few names, as the streams of a meeting: a map would allocate room for eleven.

/// Values by name, in the order in which they came.
#[derive(Debug)]
pub(super) struct Few<T>(Vec<(String, T)>);

impl<T> Default for Few<T> {
    fn default() -> Few<T> {
        Few(Vec::new())
    }
}

impl<T: Default> Few<T> {
    pub(super) fn get(&self, name: &str) -> Option<&T> {
        let mut all = self.0.iter();
        all.find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The value of that name, made if there is none.
    pub(super) fn of(&mut self, name: &str) -> &mut T {
        let at = self.0.iter().position(|(known, _)| known == name);
        let at = at.unwrap_or_else(|| {
            self.0.reserve_exact(1);
            self.0.push((name.to_owned(), T::default()));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.retain(|known| known != name);
    }

    pub(super) fn retain(&mut self, is_kept: impl Fn(&str) -> bool) {
        self.0.retain(|(name, _)| is_kept(name));
    }
}
