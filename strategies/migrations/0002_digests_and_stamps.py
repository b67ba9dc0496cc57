from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("strategies", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="barblock",
            name="digest",
            field=models.BinaryField(default=bytes),
        ),
        migrations.AddField(
            model_name="serieshead",
            name="register_stamp",
            field=models.CharField(blank=True, max_length=32),
        ),
    ]
