//! Choices that follow from a seed alone (SplitMix64).

/// A stream of choices.
pub struct Dice(u64);

impl Dice {
    /// From a seed and what the choices are for.
    pub fn new(seed: u64, what: &str) -> Self {
        what.bytes().fold(Self(seed), |mut dice, byte| {
            dice.0 ^= u64::from(byte);
            dice.next();
            dice
        })
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 1 to `most`.
    pub fn throw(&mut self, most: u64) -> u64 {
        self.next() % most.max(1) + 1
    }

    /// An order of these.
    pub fn shuffled<T>(&mut self, items: Vec<T>) -> Vec<T> {
        let mut keyed: Vec<(u64, T)> = items.into_iter().map(|item| (self.next(), item)).collect();
        keyed.sort_by_key(|(key, _)| *key);
        keyed.into_iter().map(|(_, item)| item).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_choices() {
        let choices = |seed| {
            let mut dice = Dice::new(seed, "points");
            (dice.throw(1_000_000), dice.shuffled((0..100).collect::<Vec<_>>()))
        };
        assert_eq!(choices(7), choices(7));
        assert_ne!(choices(7), choices(8));
        assert!((0..100).all(|_| (1..=3).contains(&Dice::new(1, "x").throw(3))));
    }
}
