import torch

from enliven.train.moments import Moments


def test_rows_in_any_portions_give_the_covariance_around_any_centre() -> None:
    torch.manual_seed(0)
    rows = torch.randn(1000, 5) @ torch.randn(5, 5) + torch.arange(5)
    moments = Moments(5)
    for portion in rows.split([1, 600, 399]):
        moments.add(portion)
    torch.testing.assert_close(moments.mean.float(), rows.mean(dim=0))
    torch.testing.assert_close(moments.around(moments.mean).float(), rows.T.cov(correction=0), atol=1e-4, rtol=1e-4)
    centre = torch.randn(5)
    expected = (rows - centre).T @ (rows - centre) / 1000
    torch.testing.assert_close(moments.around(centre).float(), expected, atol=1e-3, rtol=1e-4)
