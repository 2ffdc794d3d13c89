"""Mean and covariance of more rows than fit into memory."""

import torch
from jaxtyping import Float
from torch import Tensor


class Moments:
    """Counts rows of ``width`` numbers: their sum, and the sum of the products of every two columns."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self.total = torch.zeros(width, dtype=torch.float64)
        self.products = torch.zeros(width, width, dtype=torch.float64)

    def add(self, rows: Float[Tensor, "n c"]) -> None:
        """Count more rows; their products are taken in their own precision, and added up in double precision."""
        self.count += len(rows)
        self.total += rows.sum(dim=0).double().cpu()
        self.products += (rows.T @ rows).double().cpu()

    @property
    def mean(self) -> Float[Tensor, "c"]:
        """The mean row, in double precision."""
        return self.total / self.count

    def around(self, centre: Float[Tensor, "c"]) -> Float[Tensor, "c c"]:
        """The mean product of every two columns after ``centre`` was taken away; around the mean, the covariance."""
        crossed = torch.outer(self.mean, centre.double())
        return self.products / self.count - crossed - crossed.T + torch.outer(centre, centre).double()
