"""The backbones under one name; each is a file of models/backbones."""

from bodyjax.models.backbones.efficientnet_lite0 import EfficientNetLite0
from bodyjax.models.backbones.layers import SqueezeExcite
from bodyjax.models.backbones.mobilenet_v2_fpn import MobileNetV2FPN
from bodyjax.models.backbones.se_resnet import SEBottleneck, SEResNet
from bodyjax.models.backbones.vgg19 import VGG19

__all__ = [
    "VGG19",
    "EfficientNetLite0",
    "MobileNetV2FPN",
    "SEBottleneck",
    "SEResNet",
    "SqueezeExcite",
]
