//! One `linfa_ftrl::Ftrl` per class, trained on the active columns of each small batch only.
//!
//! `linfa-ftrl` takes dense matrices and works on every column at each step. A step changes only columns in which the
//! batch has a value: where the gradient is zero, FTRL-proximal (McMahan et al. 2013) adds zero to `z` and `n`. So each
//! step gathers the state of the active columns, lets linfa fit that small dense problem, and scatters the new state
//! back: the result is the same bit for bit as over all columns (test below) at about a hundredth of the cost.
//!
//! Invariants: the state starts at zero; the order of rows is the caller's; classes do not see each other, so that the
//! number of threads does not change the result.

use linfa::DatasetBase;
use linfa::ParamGuard;
use linfa::traits::FitWith;
use linfa_ftrl::{Ftrl, FtrlParams};
use ndarray::{Array1, Array2};
use rand::rngs::mock::StepRng;
use serde::de::value::{Error as ValueError, F32Deserializer, MapDeserializer, SeqDeserializer};
use serde::de::{self, Deserialize, IntoDeserializer, Visitor};

/// A row for training: slots in ascending order without repeats, their values, the class.
#[derive(Debug, Clone, PartialEq)]
pub struct SparseRow {
    /// Slots and values.
    pub cells: Vec<(u32, f32)>,
    /// Index of the class.
    pub class: u16,
}

/// Settings of FTRL-proximal.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FtrlSettings {
    /// Learning rate.
    pub alpha: f32,
    /// Smoothing of the learning rate.
    pub beta: f32,
    /// L1 regularization, 0 to 1.
    pub l1: f32,
    /// L2 regularization, 0 to 1.
    pub l2: f32,
    /// Rows in one step. linfa sums the gradients of a batch: a larger batch is a coarser step.
    pub batch: usize,
}

impl Default for FtrlSettings {
    fn default() -> Self {
        FtrlSettings { alpha: 1.5, beta: 1.0, l1: 0.0, l2: 0.0, batch: 8 }
    }
}

impl FtrlSettings {
    /// What is wrong with the numbers, if anything.
    pub fn check(&self) -> Result<(), String> {
        // A rate of 0 or NaN would train weights of 0 or NaN without a word; linfa bounds only the penalties.
        if !(1e-6..=1e3).contains(&self.alpha) || !(0.0..=1e3).contains(&self.beta) {
            return Err("ftrl.alpha must be 0.000001 to 1000 and ftrl.beta 0 to 1000".to_string());
        }
        if ![self.l1, self.l2].iter().all(|penalty| (0.0..=1.0).contains(penalty)) {
            return Err("ftrl.l1 and ftrl.l2 must be 0 to 1".to_string());
        }
        if (1..=4_096).contains(&self.batch) { Ok(()) } else { Err("ftrl.batch must be 1 to 4096".to_string()) }
    }
}

/// The classes `first .. first + width` in training: one FTRL state each.
pub struct ClassGroup {
    settings: FtrlSettings,
    first: usize,
    width: usize,
    /// Per slot: `z` of each class of the group.
    z: Vec<f32>,
    /// Per slot: `n` of each class of the group.
    n: Vec<f32>,
    /// Local column of a slot in the current batch, or `NOT_ACTIVE`.
    column: Vec<u32>,
}

const NOT_ACTIVE: u32 = u32::MAX;

impl ClassGroup {
    /// Untrained classes.
    pub fn new(settings: FtrlSettings, slots: usize, first: usize, width: usize) -> Self {
        let zeros = || vec![0.0; slots * width];
        ClassGroup { settings, first, width, z: zeros(), n: zeros(), column: vec![NOT_ACTIVE; slots] }
    }

    /// One pass over `rows` in the order given.
    pub fn pass<'r>(&mut self, rows: impl IntoIterator<Item = &'r SparseRow>) -> Result<(), String> {
        let mut batch = Vec::with_capacity(self.settings.batch);
        for row in rows {
            batch.push(row);
            if batch.len() == self.settings.batch {
                self.step(&batch)?;
                batch.clear();
            }
        }
        if batch.is_empty() { Ok(()) } else { self.step(&batch) }
    }

    /// One step of every class on one small batch.
    fn step(&mut self, batch: &[&SparseRow]) -> Result<(), String> {
        let mut active: Vec<u32> = Vec::new();
        for &(slot, _) in batch.iter().flat_map(|row| &row.cells) {
            if let Some(column) = self.column.get_mut(slot as usize).filter(|c| **c == NOT_ACTIVE) {
                *column = u32::try_from(active.len()).map_err(|_| "too many columns in a batch")?;
                active.push(slot);
            }
        }
        let mut x = Array2::<f32>::zeros((batch.len(), active.len()));
        for (mut line, row) in x.outer_iter_mut().zip(batch) {
            for &(slot, value) in &row.cells {
                let column = self.column.get(slot as usize).and_then(|c| line.get_mut(*c as usize));
                if let Some(cell) = column {
                    *cell = value;
                }
            }
        }
        for k in 0..self.width {
            let class = self.first + k;
            let y: Array1<bool> = batch.iter().map(|row| usize::from(row.class) == class).collect();
            self.step_class(k, &active, &DatasetBase::new(x.view(), y))?;
        }
        for slot in active {
            if let Some(column) = self.column.get_mut(slot as usize) {
                *column = NOT_ACTIVE;
            }
        }
        Ok(())
    }

    fn step_class<D: ndarray::Data<Elem = f32>>(
        &mut self,
        k: usize,
        active: &[u32],
        dataset: &DatasetBase<ndarray::ArrayBase<D, ndarray::Ix2>, Array1<bool>>,
    ) -> Result<(), String> {
        let at = |slot: &u32| *slot as usize * self.width + k;
        let gather = |from: &[f32]| active.iter().map(|s| from.get(at(s)).copied().unwrap_or_default()).collect();
        let model = restore(self.settings, gather(&self.z), gather(&self.n))?;
        let params = FtrlParams::new(
            self.settings.alpha,
            self.settings.beta,
            self.settings.l1,
            self.settings.l2,
            StepRng::new(0, 0),
        );
        let model = params.check().and_then(|p| p.fit_with(Some(model), dataset)).map_err(|e| e.to_string())?;
        for (slot, (z, n)) in active.iter().zip(model.z().iter().zip(model.n())) {
            let at = *slot as usize * self.width + k;
            if let (Some(old_z), Some(old_n)) = (self.z.get_mut(at), self.n.get_mut(at)) {
                (*old_z, *old_n) = (*z, *n);
            }
        }
        Ok(())
    }

    /// The weights: per slot, one of each class of the group.
    pub fn weights(&self) -> Result<Vec<f32>, String> {
        Ok(restore(self.settings, self.z.clone(), self.n.clone())?.get_weights().to_vec())
    }
}

/// An `Ftrl` with a given state. Its fields are private; deserializing is the way in that linfa offers.
fn restore(settings: FtrlSettings, z: Vec<f32>, n: Vec<f32>) -> Result<Ftrl<f32>, String> {
    let fields = [
        ("alpha", Part::Number(settings.alpha)),
        ("beta", Part::Number(settings.beta)),
        ("l1_ratio", Part::Number(settings.l1)),
        ("l2_ratio", Part::Number(settings.l2)),
        ("z", Part::Array(z)),
        ("n", Part::Array(n)),
    ];
    Ftrl::deserialize(MapDeserializer::new(fields.into_iter())).map_err(|e: ValueError| e.to_string())
}

/// A part of the state on its way through serde: as `ndarray` writes one-dimensional arrays (format 1).
enum Part {
    Number(f32),
    Array(Vec<f32>),
    Version(u8),
    Dimension(usize),
    Data(Vec<f32>),
}

impl<'de> IntoDeserializer<'de, ValueError> for Part {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> de::Deserializer<'de> for Part {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self {
            Part::Number(x) => visitor.visit_f32(x),
            Part::Version(v) => visitor.visit_u8(v),
            Part::Dimension(len) => visitor.visit_seq(SeqDeserializer::new(std::iter::once(len))),
            Part::Data(data) => {
                let items = data.into_iter().map(|x| -> F32Deserializer<ValueError> { x.into_deserializer() });
                visitor.visit_seq(SeqDeserializer::new(items))
            }
            Part::Array(data) => {
                let parts = [("v", Part::Version(1)), ("dim", Part::Dimension(data.len())), ("data", Part::Data(data))];
                visitor.visit_map(MapDeserializer::new(parts.into_iter()))
            }
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<SparseRow> {
        let mut state = 7u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let row = |class: u16, next: &mut dyn FnMut(u64) -> u64| {
            let mut slots: Vec<u32> = (0..6).map(|_| (next(20) + 10 * u64::from(class)) as u32).collect();
            slots.sort_unstable();
            slots.dedup();
            SparseRow { cells: slots.into_iter().map(|s| (s, next(9) as f32 / 4.0 - 1.0)).collect(), class }
        };
        (0..100).map(|i| row(i % 3, &mut next)).collect()
    }

    /// What linfa does with all columns of the same batches.
    fn dense(settings: FtrlSettings, rows: &[SparseRow], slots: usize, class: u16) -> Vec<f32> {
        let params = FtrlParams::new(settings.alpha, settings.beta, settings.l1, settings.l2, StepRng::new(0, 0))
            .check()
            .unwrap();
        let mut model = None;
        for batch in rows.chunks(settings.batch) {
            let mut x = Array2::<f32>::zeros((batch.len(), slots));
            for (i, row) in batch.iter().enumerate() {
                for &(slot, value) in &row.cells {
                    x[(i, slot as usize)] = value;
                }
            }
            let y: Array1<bool> = batch.iter().map(|r| r.class == class).collect();
            model = Some(params.fit_with(model, &DatasetBase::new(x, y)).unwrap());
        }
        model.unwrap().get_weights().to_vec()
    }

    #[test]
    fn numbers_that_train_nothing_are_refused() {
        let fine = FtrlSettings::default();
        assert_eq!(fine.check(), Ok(()));
        for alpha in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(FtrlSettings { alpha, ..fine }.check().unwrap_err().contains("alpha"), "{alpha}");
        }
        assert!(FtrlSettings { beta: f32::NAN, ..fine }.check().is_err());
        assert!(
            FtrlSettings { l1: 1.5, ..fine }.check().is_err() && FtrlSettings { l2: -0.1, ..fine }.check().is_err()
        );
        assert!(FtrlSettings { batch: 0, ..fine }.check().is_err());
    }

    #[test]
    fn active_columns_alone_give_what_linfa_gives_on_all_columns() {
        for settings in [
            FtrlSettings { alpha: 1.5, beta: 1.0, l1: 0.0, l2: 0.0, batch: 8 },
            FtrlSettings { alpha: 0.3, beta: 0.5, l1: 0.1, l2: 0.2, batch: 1 },
        ] {
            let mut group = ClassGroup::new(settings, 50, 1, 2);
            group.pass(&rows()).unwrap();
            let weights = group.weights().unwrap();
            for class in [1u16, 2] {
                let expected = dense(settings, &rows(), 50, class);
                assert!(expected.iter().any(|w| w.abs() > 0.1), "the comparison would be empty");
                for (slot, want) in expected.iter().enumerate() {
                    let got = weights[slot * 2 + usize::from(class) - 1];
                    // Sums over more columns round in another order.
                    assert!((got - want).abs() <= 1e-4 * want.abs().max(1.0), "slot {slot}: {got} instead of {want}");
                }
            }
        }
    }
}
