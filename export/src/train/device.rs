//! Where libtorch computes.

use std::str::FromStr;

/// `auto`, `cpu` or `cuda:N`, as on the command line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU that libtorch can use, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// That GPU, or an error.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| format!("{text:?} is no device; say auto, cpu or cuda:N, such as cuda:0")),
        }
    }
}

impl DeviceChoice {
    /// The device in libtorch's terms.
    ///
    /// # Errors
    /// When a GPU was asked for by number and libtorch has no such GPU.
    pub fn open(self) -> anyhow::Result<tch::Device> {
        let cards = if tch::Cuda::is_available() {
            usize::try_from(tch::Cuda::device_count()).unwrap_or(0)
        } else {
            0
        };
        match self {
            Self::Auto if cards > 0 => Ok(tch::Device::Cuda(0)),
            Self::Auto | Self::Cpu => Ok(tch::Device::Cpu),
            Self::Cuda(number) if number < cards => Ok(tch::Device::Cuda(number)),
            Self::Cuda(number) => anyhow::bail!(
                "there is no GPU {number}: this libtorch sees {cards}. On a machine with a card, build with the torch that \
                 is installed there (LIBTORCH_USE_PYTORCH=1 cargo xtask trainer); or say --device cpu"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DeviceChoice;

    #[test]
    fn devices_are_read_as_people_write_them() {
        assert_eq!("auto".parse(), Ok(DeviceChoice::Auto));
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        assert_eq!("cuda:3".parse(), Ok(DeviceChoice::Cuda(3)));
        for wrong in ["gpu", "cuda:", "cuda:x", ""] {
            assert!(wrong.parse::<DeviceChoice>().unwrap_err().contains("cuda:N"));
        }
    }
}
