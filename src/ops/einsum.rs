//! Products of two values described by the names of their dimensions.

use super::Value;
use crate::error::Result;

/// The product of two values over the dimensions that both have, as in `abc,cd->abd`: dimensions of `a` and `b` have
/// the names `a_names` and `b_names`, those of the result `names`; names that the result does not have are summed over.
///
/// Every name must occur once in a value, and those of `b` in `a` or in the result.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if more than six dimensions come together.
pub(crate) fn einsum(a: Value, a_names: &[char], b: Value, b_names: &[char], names: &[char]) -> Result<Value> {
    // Dimensions that only `a` has are summed over first.
    let kept: Vec<char> = a_names.iter().copied().filter(|n| names.contains(n) || b_names.contains(n)).collect();
    let mut a = a;
    for (axis, _) in a_names.iter().enumerate().filter(|(_, name)| !kept.contains(name)) {
        a = a.sum_axis(axis);
    }
    let a_sizes = a.sizes();
    let b_sizes = b.sizes();
    let size = |name: &char| {
        let in_a = a_names.iter().position(|n| n == name).map(|axis| a_sizes[axis]);
        in_a.or_else(|| b_names.iter().position(|n| n == name).map(|axis| b_sizes[axis])).unwrap_or(1)
    };
    let dropped: Vec<char> = a_names.iter().copied().filter(|name| !kept.contains(name)).collect();
    let in_both = |name: &&char| kept.contains(name) && b_names.contains(name);
    let batch: Vec<char> = names.iter().filter(in_both).copied().collect();
    let contracted: Vec<char> = b_names.iter().filter(in_both).filter(|n| !names.contains(n)).copied().collect();
    let rows: Vec<char> = kept.iter().filter(|name| !b_names.contains(name)).copied().collect();
    let columns: Vec<char> = b_names.iter().filter(|name| !kept.contains(name)).copied().collect();

    let count = |group: &[char]| group.iter().map(size).product::<usize>();
    let order = |names: &[char], wanted: &[&[char]]| -> Vec<usize> {
        wanted.concat().iter().filter_map(|name| names.iter().position(|n| n == name)).collect()
    };
    let a = a.permute(&order(a_names, &[&batch, &rows, &contracted, &dropped]));
    let a = a.reshape(&[count(&batch), count(&rows), count(&contracted)])?;
    let b = b.permute(&order(b_names, &[&batch, &contracted, &columns]));
    let b = b.reshape(&[count(&batch), count(&contracted), count(&columns)])?;
    let product = a.matmul(b);
    let found = [batch, rows, columns].concat();
    let product = product.reshape(&found.iter().map(size).collect::<Vec<_>>())?;
    Ok(product.permute(&order(&found, &[names])))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn numbers(sizes: &[usize]) -> Value {
        let count = sizes.iter().product::<usize>();
        Value::from_vec((0..count).map(|i| i as f32).collect(), sizes, &Device::flex()).unwrap()
    }

    fn run(equation: [&str; 3], a: &[usize], b: &[usize]) -> (Vec<usize>, Vec<f32>) {
        let names = equation.map(|names| names.chars().collect::<Vec<_>>());
        let result = einsum(numbers(a), &names[0], numbers(b), &names[1], &names[2]).unwrap();
        (result.sizes(), result.to_vec().unwrap())
    }

    #[test]
    fn every_kind_of_dimension() {
        // A matrix product, and its transpose.
        assert_eq!(run(["ab", "bc", "ac"], &[2, 2], &[2, 2]), (vec![2, 2], vec![2., 3., 6., 11.]));
        assert_eq!(run(["ab", "bc", "ca"], &[2, 2], &[2, 2]), (vec![2, 2], vec![2., 6., 3., 11.]));
        // A dimension of both that stays.
        assert_eq!(run(["ab", "b", "ab"], &[2, 2], &[2]), (vec![2, 2], vec![0., 1., 0., 3.]));
        // A dimension of one that goes.
        assert_eq!(run(["abc", "b", "ab"], &[1, 2, 2], &[2]), (vec![1, 2], vec![0., 5.]));
        // Nothing in common.
        assert_eq!(run(["a", "b", "ab"], &[2], &[2]), (vec![2, 2], vec![0., 0., 0., 1.]));
    }
}
